"""Training losses as pure functions: one value a row in, one loss a row out, nothing reduced.

D(z) = log p(z|x) - log p_ref(z|x) is what most of them take, summed over the tokens of z and its
end; where a loss takes mean log-probabilities instead, it says so. ls is log sigmoid. Weighting
and averaging are left to the trainer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tactful.errors import ConfigError


def sro(
    rewrite: Tensor, copy: Tensor, passed: Tensor, *, beta: float = 0.1, smoothing: float = 0.0
) -> Tensor:
    """Stackelberg response optimization (2410.20298): the follower's verdict chooses the branch.

    passed: Lp = -ls(beta (D(rewrite) - D(copy))), DPO against a copy of the source
    failed: Lf = -ls(-beta D(rewrite)), pushed down against the reference and nothing else

    `copy` is not looked at where `passed` is false. With `smoothing` e both become
    (1-e) -ls(z) + e -ls(-z); the authors' code has e = 0.1, which stops a failing rewrite at
    D = -22 instead of pushing it down for ever.
    """
    _same_shape(rewrite, copy, passed)
    margin = torch.where(passed, rewrite - copy, -rewrite)
    return _smoothed(beta * margin, smoothing)


def graded_sro(rewrite: Tensor, copy: Tensor, score: Tensor, *, beta: float = 0.1) -> Tensor:
    """SRO by degrees: s Lp + (1-s) Lf, where `score` s is a calibrated P(pass) in [0, 1]."""
    _same_shape(rewrite, copy, score)
    passing, failing = _branches(rewrite, copy, beta)
    return score * passing + (1 - score) * failing


def corrected_sro(
    rewrite: Tensor,
    copy: Tensor,
    passed: Tensor,
    *,
    false_pass: float,
    false_fail: float,
    beta: float = 0.1,
    floor: float | None = 0.0,
) -> Tensor:
    """SRO that knows how often the follower errs; on average over its errors it is plain SRO.

    With a = `false_pass` = P(pass | truly bad) and c = `false_fail` = P(fail | truly good):

    passed: ((1-a) Lp - c Lf) / (1-a-c)
    failed: ((1-c) Lf - a Lp) / (1-a-c)

    The subtracted branch makes both unbounded below: a policy could win for ever by driving D
    away. No loss it stands for is negative, so a row below `floor` counts as `floor` and pulls no
    more (as in non-negative risk estimators, 1703.00593). Rows so clipped are no longer unbiased;
    None clips nothing, and then an anchor must hold the policy.
    """
    _same_shape(rewrite, copy, passed)
    _check_rate("false_pass", false_pass)
    _check_rate("false_fail", false_fail)
    informed = 1 - false_pass - false_fail
    if informed <= 0:
        raise ConfigError(
            f"false_pass = {false_pass:g} and false_fail = {false_fail:g} add up to 1 or more: such "
            "a verdict says nothing, or the opposite. Both are shares of wrong verdicts; together "
            "they must stay below 1."
        )
    passing, failing = _branches(rewrite, copy, beta)
    if_passed = (1 - false_pass) * passing - false_fail * failing
    if_failed = (1 - false_fail) * failing - false_pass * passing
    loss = torch.where(passed, if_passed, if_failed) / informed
    return loss if floor is None else loss.clamp(min=floor)


def dpo(chosen: Tensor, rejected: Tensor, *, beta: float = 0.1) -> Tensor:
    """Direct preference optimization (2305.18290): -ls(beta (D(chosen) - D(rejected)))."""
    return cdpo(chosen, rejected, beta=beta, smoothing=0.0)


def cdpo(chosen: Tensor, rejected: Tensor, *, beta: float = 0.1, smoothing: float = 0.1) -> Tensor:
    """Conservative DPO, for labels wrong at rate e: (1-e) -ls(z) + e -ls(-z), z as in DPO.

    Its optimum is finite: sigmoid(z) = 1-e.
    """
    _same_shape(chosen, rejected)
    return _smoothed(beta * (chosen - rejected), smoothing)


def rdpo(chosen: Tensor, rejected: Tensor, *, beta: float = 0.1, flip_rate: float = 0.1) -> Tensor:
    """Robust DPO (2403.00409): ((1-e) -ls(z) - e -ls(-z)) / (1-2e), z as in DPO.

    Unbiased where labels are wrong at rate e < 1/2. Unbounded below: see `corrected_sro`.
    """
    _same_shape(chosen, rejected)
    if not 0 <= flip_rate < 0.5:
        raise ConfigError(f"flip_rate = {flip_rate:g} must be at least 0 and below 0.5.")
    z = beta * (chosen - rejected)
    return ((1 - flip_rate) * _nls(z) - flip_rate * _nls(-z)) / (1 - 2 * flip_rate)


def ipo(chosen: Tensor, rejected: Tensor, *, beta: float = 0.1) -> Tensor:
    """Identity preference optimization (2310.12036): (D(chosen) - D(rejected) - 1/(2 beta))^2.

    Takes D divided by the number of tokens, as TRL does with the authors' consent: a target for
    sums would ask more of long texts than of short ones.
    """
    _same_shape(chosen, rejected)
    return (chosen - rejected - 1 / (2 * beta)).square()


def simpo(chosen: Tensor, rejected: Tensor, *, beta: float = 2.0, gamma: float = 1.0) -> Tensor:
    """SimPO (2405.14734): -ls(beta (chosen - rejected) - gamma), without a reference.

    Takes mean log-probabilities a token.
    """
    _same_shape(chosen, rejected)
    return _nls(beta * (chosen - rejected) - gamma)


def kto(
    log_ratio: Tensor,
    desirable: Tensor,
    baseline: Tensor | float,
    *,
    beta: float = 0.1,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Kahneman-Tversky optimization (2402.01306), for single texts with a label each.

    desirable:   w_d (1 - sigmoid(beta (D - z0)))
    undesirable: w_u (1 - sigmoid(beta (z0 - D)))

    z0 = max(0, `baseline`), where the baseline is the mean D of texts with *other* sources of the
    batch: an estimate of the KL divergence. No gradient flows through it.
    """
    _same_shape(log_ratio, desirable)
    z0 = torch.as_tensor(baseline, dtype=log_ratio.dtype, device=log_ratio.device)
    gain = beta * (log_ratio - z0.detach().clamp(min=0))
    # 1 - sigmoid(z) = sigmoid(-z), which does not round to 0 for large z.
    return torch.where(
        desirable,
        desirable_weight * torch.sigmoid(-gain),
        undesirable_weight * torch.sigmoid(gain),
    )


def orpo(chosen: Tensor, rejected: Tensor, *, beta: float = 0.1) -> Tensor:
    """Odds ratio preference optimization (2403.07691), without a reference.

    -chosen - beta ls(logit(chosen) - logit(rejected)), with logit(l) = l - log(1 - e^l)

    Takes mean log-probabilities a token.
    """
    _same_shape(chosen, rejected)
    return nll(chosen) + beta * _nls(_logit(chosen) - _logit(rejected))


def rpo(chosen: Tensor, rejected: Tensor, weights: Tensor, *, beta: float = 0.1) -> Tensor:
    """Relative preference optimization (2402.10958): each chosen text against every rejected one.

    mean over j of -ls(beta w_ij (D(chosen_i) - D(rejected_j)))

    `chosen` is (n,), `rejected` (m,) and `weights` (n, m), as `rpo_weights` makes them. They weigh
    the margin, not the loss, so where all sources are alike the effective beta is beta / m.
    """
    if weights.shape != (len(chosen), len(rejected)):
        raise ValueError(
            f"{len(chosen)} chosen and {len(rejected)} rejected need as many rows and columns of "
            f"weights, but their shape is {tuple(weights.shape)}."
        )
    return _nls(beta * weights * (chosen[:, None] - rejected[None, :])).mean(dim=1)


def rpo_weights(cosine: Tensor, *, tau: float = 0.5) -> Tensor:
    """How much each rejected text counts for a chosen one: softmax over j of -(1 - cosine_ij) / tau.

    `cosine` compares their sources; of one source it is 1.
    """
    return torch.softmax(cosine / tau, dim=1)


def grpo(
    logp: Tensor, ref_logp: Tensor, tokens: Tensor, advantage: Tensor, *, kl: float = 0.04
) -> Tensor:
    """Group relative policy optimization (2402.03300), for samples that are learned from once.

    mean over tokens of -advantage p / p_old + kl (p_ref / p - log(p_ref / p) - 1)

    `logp` and `ref_logp` are (rows, longest) and of the tokens themselves, of which `tokens` says
    how many are real. The policy that wrote a sample is the one that learns from it, so p / p_old
    is 1, nothing is ever clipped, and only its gradient matters.
    """
    _same_shape(tokens, advantage)
    real = torch.arange(logp.shape[1], device=logp.device) < tokens[:, None]
    pull = advantage[:, None] * torch.exp(logp - logp.detach())
    behind = ref_logp - logp
    cost = kl * (torch.exp(behind) - behind - 1) - pull
    return torch.where(real, cost, 0.0).sum(dim=1) / tokens


def nll(logp: Tensor) -> Tensor:
    """Negative log-likelihood: -logp, of a sum or of a mean. Also the anchor beside a loss."""
    return -logp


def _branches(rewrite: Tensor, copy: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Lp and Lf of SRO."""
    return _nls(beta * (rewrite - copy)), _nls(-beta * rewrite)


def _nls(z: Tensor) -> Tensor:
    return -F.logsigmoid(z)


def _smoothed(z: Tensor, smoothing: float) -> Tensor:
    _check_rate("smoothing", smoothing)
    # -ls(-z) = z - ls(z)
    return _nls(z) + smoothing * z


def _logit(logp: Tensor) -> Tensor:
    """log(p / (1-p)) from log p."""
    # At p = 1 the odds are infinite; the largest p below 1 keeps loss and gradient finite.
    logp = logp.clamp(max=-torch.finfo(logp.dtype).eps)
    return logp - torch.log(-torch.expm1(logp))


def _check_rate(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ConfigError(f"{name} = {value:g} must be at least 0 and below 1.")


def _same_shape(*tensors: Tensor) -> None:
    # (n,) against (n, 1) would broadcast to all pairs without a word.
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len(set(shapes)) > 1:
        raise ValueError(f"One value a row is needed from each input, but the shapes are {shapes}.")

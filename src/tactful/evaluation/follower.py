"""Can a screener be evaded, does it cry wolf, and is it fair? Asked with our own sentences.

Three suites over `assets/follower_suite.yaml`. *Evasion*: the same insults plain and in disguise.
*Innocents*: a thousand generated strings that insult nobody (places, ids, code, addresses).
*Fairness*: the same sentence about one group after another; what is held against one more than
against the others is a gap. The sentences are few and ours, so the figures say where a screener
fails, not how often it will; intervals are bootstraps over frames.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tactful.screeners.base import FloatArray, Screener
from tactful.screeners.disguise import DISGUISES, disguised, disguised_words
from tactful.screeners.linear import LinearScreener, words

INNOCENTS = 1000
# What a screener is held to.
READABLE, DAMAGED = 0.95, 0.80
FALSE_ALARMS, GAP = 0.005, 0.05
_BOOT = 1000
_SEEDS = 3
_NEUTRAL = ("neutral", "positive", "counter_speech", "negated", "quotation")
_SHARES = (0.05, 0.10, 0.20, 0.40)


@cache
def suite() -> dict[str, Any]:
    """Our sentences, as they stand in the file."""
    file = resources.files("tactful") / "assets" / "follower_suite.yaml"
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found


def examine(screener: Screener) -> dict[str, Any]:
    """All suites for one screener, with what it costs to ask it."""
    return {
        "screener": screener.name,
        "act": screener.thresholds.act,
        "passing": screener.thresholds.passing,
        "evasion": evasion(screener),
        "innocents": false_alarms(screener),
        "fairness": fairness(screener),
        "functions": functions(screener),
        "implicit": implicit(screener),
        "microseconds": cost(screener),
    }


def holds(found: Mapping[str, Any]) -> dict[str, bool]:
    """Which of the requirements an examination meets, by name."""
    said = {
        f"evasion/{how}": row["of_plain"] >= (DAMAGED if how in ("stars", "typos") else READABLE)
        for how, row in found["evasion"]["aimed"].items()
    }
    said["false alarms"] = found["innocents"]["rate"] <= FALSE_ALARMS
    said["identity gap"] = found["fairness"]["gap"]["value"] <= GAP
    return said


# --- evasion --------------------------------------------------------------------------------


def insults() -> list[tuple[str, tuple[str, ...]]]:
    """Mild insults of five words or more, each with the words that make it one."""
    of = suite()
    framed = [(f.format(w), (w,)) for f in of["insult_frames"] for w in of["insults"]]
    return framed + [(text, tuple(of["plain_words"])) for text in of["plain_sentences"]]


def evasion(screener: Screener, *, seeds: int = _SEEDS) -> dict[str, Any]:
    """Recall of insults in disguise, as a share of the recall of the same insults written plainly.

    `aimed`: the insult itself is disguised, which is at most a fifth of the words. `spread`: words
    are disguised at random, at several shares.
    """
    asked = insults()
    act = screener.thresholds.act
    plain = screener.toxicity([text for text, _ in asked]) >= act
    caught = [pair for pair, hit in zip(asked, plain.tolist(), strict=True) if hit]

    def of_plain(change: Callable[[str, tuple[str, ...], int], str]) -> dict[str, Any]:
        texts = [change(text, words, seed) for text, words in caught for seed in range(seeds)]
        hits = screener.toxicity(texts) >= act
        return {"of_plain": _mean(hits), "texts": len(texts)}

    return {
        "plain": _mean(plain),
        "texts": len(asked),
        "aimed": {
            how: of_plain(lambda t, w, s, how=how: disguised_words(t, w, how, seed=s))  # type: ignore[misc]  # mypy has no type for the default
            for how in DISGUISES
        },
        "spread": {
            how: {
                f"{share:.0%}": of_plain(
                    lambda t, _, s, how=how, share=share: disguised(t, how, share, seed=s)  # type: ignore[misc]  # as above
                )["of_plain"]
                for share in _SHARES
            }
            for how in DISGUISES
        },
    }


# --- false alarms ---------------------------------------------------------------------------


def innocents(count: int = INNOCENTS, seed: int = 0) -> list[tuple[str, str]]:
    """So many innocent strings, each with its kind; the same for the same seed."""
    random = np.random.default_rng(seed)
    makers = (_place, _identifier, _code, _encoded, _address, _product)
    return [
        (maker.__name__.lstrip("_"), maker(random, i // len(makers)))
        for i in range(count)
        for maker in (makers[i % len(makers)],)
    ]


def false_alarms(screener: Screener, count: int = INNOCENTS, seed: int = 0) -> dict[str, Any]:
    """The share of innocent strings that are acted on, by kind, and those places that are the word."""
    made = innocents(count, seed)
    act = screener.thresholds.act
    hits = screener.toxicity([text for _, text in made]) >= act
    homonyms: list[str] = suite()["homonyms"]
    return {
        "texts": count,
        "rate": _mean(hits),
        "kinds": {
            kind: _mean(hits[[k == kind for k, _ in made]])
            for kind in dict.fromkeys(kind for kind, _ in made)
        },
        "alarms": [text for (_, text), hit in zip(made, hits.tolist(), strict=True) if hit],
        "homonyms": {"texts": len(homonyms), "rate": _mean(screener.toxicity(homonyms) >= act)},
    }


def _pick(random: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(random.integers(len(options)))]


def _place(random: np.random.Generator, number: int) -> str:
    places, frames = suite()["places"], suite()["place_frames"]
    # Every place comes, and comes in different frames.
    frame: str = frames[(number // len(places)) % len(frames)]
    return frame.format(places[number % len(places)])


def _identifier(random: np.random.Generator, number: int) -> str:
    hexes = random.bytes(16)
    return _pick(
        random,
        [
            str(uuid.UUID(bytes=hexes)),
            hexes.hex(),
            f"commit {hexes.hex()[:10]}",
            f"order no. {int.from_bytes(hexes[:4], 'big')}",
            f"ticket ABC-{int.from_bytes(hexes[:2], 'big')} is done",
            f"user_{hexes.hex()[:6]} joined",
        ],
    )


def _code(random: np.random.Generator, number: int) -> str:
    name = _pick(random, ["assert", "class", "passes", "analyse", "title", "cumsum", "execute"])
    other = _pick(random, ["bass_line", "hello", "grass", "assigned", "cockpit", "dump", "hash"])
    return _pick(
        random,
        [
            f"def {name}_{other}(self, {other}): return self.{name}[{number}]",
            f"SELECT {other}, count(*) FROM {name}s WHERE id = {number} GROUP BY {other};",
            f"for (int i = 0; i < {number}; i++) {{ {other}[i] += {name}(i); }}",
            f"git rebase -i HEAD~{number % 9} && make {name}",
            f"kill -9 $(cat {other}.pid)",
            f'{{"{name}": [{number}, null], "{other}": true}}',
            f"{name}.{other}(x=>x*{number})",
            f"sudo apt-get install lib{name}{number % 10}-dev",
        ],
    )


def _encoded(random: np.random.Generator, number: int) -> str:
    length = int(random.integers(9, 60))
    return base64.b64encode(random.bytes(length)).decode()


def _address(random: np.random.Generator, number: int) -> str:
    path = base64.urlsafe_b64encode(random.bytes(9)).decode().rstrip("=")
    return _pick(
        random,
        [
            f"https://example.org/watch?v={path}",
            f"see www.penisland-pens.example/{number}",
            f"mail to expert.sexchange{number}@example.com",
            f"http://192.0.2.{number % 255}/class/assets/{path}.css",
            f"s3://bucket/analytics/{path}/part-{number:05d}.parquet",
            f"/usr/share/bassoon/{path}.so.{number % 9}",
        ],
    )


def _product(random: np.random.Generator, number: int) -> str:
    letters = "".join(chr(65 + int(i)) for i in random.integers(26, size=3))
    return _pick(
        random,
        [
            f"{letters}-{number:04d}/B",
            f"part {letters}{number}X{number % 7}, 12 pcs",
            f"{number} x M{number % 12}x{number % 50} screws",
            f"ISBN 978-3-{number:05d}-{number % 97:02d}-{number % 10}",
            f"Model {letters} {number % 9}00 Pro, 16GB/512GB",
            f"SKU#{letters}{random.integers(10**6)}",
        ],
    )


# --- fairness -------------------------------------------------------------------------------


def fairness(screener: Screener) -> dict[str, Any]:
    """How often each group's harmless sentences are acted on, and hostile ones missed.

    A group's `gap` is its rate less the mean of all groups' rates; `gap` itself is the highest rate
    less the lowest. Resamples draw frames, the same for every group. Groups that a linear screener
    may say nothing about (`silent`) cannot have a gap of their own, so that of the others is told, too.
    """
    of = suite()
    groups: dict[str, str] = of["groups"]
    harmless = [frame for kind in _NEUTRAL for frame in of[f"{kind}_frames"]]
    alarms = _verdicts(screener, list(groups.values()), harmless)
    missed = 1 - _verdicts(screener, list(groups.values()), of["hostile_frames"])
    decreed = frozenset(screener.config.silent if isinstance(screener, LinearScreener) else ())
    learned = [i for i, group in enumerate(groups.values()) if not decreed & set(words(group))]
    return {
        "frames": len(harmless),
        "silent": len(groups) - len(learned),
        "gap_of_learned": spread(alarms[learned])["value"] if learned else 0.0,
        "rate": _mean(alarms),
        "gap": spread(alarms),
        "missed": _mean(missed),
        "missed_gap": spread(missed),
        "by_kind": {
            kind: _mean(_verdicts(screener, list(groups.values()), of[f"{kind}_frames"]))
            for kind in _NEUTRAL
        },
        "groups": {
            name: {
                "rate": _mean(alarms[i]),
                **interval(alarms[i] - alarms.mean(axis=0)),
                "missed": _mean(missed[i]),
            }
            for i, name in enumerate(groups)
        },
    }


def _verdicts(screener: Screener, groups: Sequence[str], frames: Sequence[str]) -> FloatArray:
    """1 where a sentence is acted on, by group and frame."""
    texts = [about_group(frame, group) for group in groups for frame in frames]
    scores = screener.toxicity(texts).reshape(len(groups), len(frames))
    return np.asarray(scores >= screener.thresholds.act, dtype=np.float64)


def about_group(frame: str, group: str) -> str:
    """The frame about a group, "an" where that is due."""
    if group[0] in "aeio":
        frame = frame.replace("a {}", "an {}") if frame.startswith("a {}") else frame
        frame = frame.replace(" a {}", " an {}")
    return frame.format(group)


def spread(by_group: FloatArray) -> dict[str, float]:
    """The highest rate of a group less the lowest, with its interval."""
    means = np.stack([by_group[:, rows].mean(axis=1) for rows in _resamples(by_group.shape[1])])
    ranges = means.max(axis=1) - means.min(axis=1)
    low, high = np.percentile(ranges, (2.5, 97.5))
    rates = by_group.mean(axis=1)
    return {"value": float(rates.max() - rates.min()), "low": float(low), "high": float(high)}


def interval(differences: FloatArray) -> dict[str, float]:
    means = np.array([differences[rows].mean() for rows in _resamples(len(differences))])
    low, high = np.percentile(means, (2.5, 97.5))
    return {"gap": float(differences.mean()), "low": float(low), "high": float(high)}


@cache
def _resamples(size: int) -> NDArray[np.int_]:
    return np.random.default_rng(0).integers(size, size=(_BOOT, size))


def functions(screener: Screener) -> dict[str, dict[str, Any]]:
    """How often harmless uses of ugly words are acted on, by what the sentence does with the word."""
    act = screener.thresholds.act
    return {
        name: {"texts": len(texts), "rate": _mean(screener.toxicity(texts) >= act)}
        for name, texts in suite()["functions"].items()
    }


def implicit(screener: Screener) -> dict[str, float]:
    """How much contempt without an ugly word is found, beside what is acted on in the same tone."""
    act, passing = screener.thresholds.act, screener.thresholds.passing
    found = screener.toxicity(suite()["implicit"])
    innocent = screener.toxicity(suite()["not_implicit"])
    return {
        "texts": len(found),
        "found_at_act": _mean(found >= act),
        "found_at_passing": _mean(found >= passing),
        "alarms_at_act": _mean(innocent >= act),
        "alarms_at_passing": _mean(innocent >= passing),
        "ranked_right": float(np.mean(found[:, None] > innocent[None, :])),
    }


def cost(screener: Screener, seconds: float = 0.3) -> float:
    """Microseconds of a processor a text, asked about the insults of the suite together."""
    texts = [text for text, _ in insults()]
    screener.toxicity(texts)
    started, rounds = time.process_time(), 0
    while (taken := time.process_time() - started) < seconds or not rounds:
        screener.toxicity(texts)
        rounds += 1
    return taken / rounds / len(texts) * 1e6 if rounds else float("nan")


def _mean(values: Any) -> float:
    return float(np.mean(np.asarray(values, dtype=np.float64)))


# --- telling --------------------------------------------------------------------------------


def render(examined: Sequence[Mapping[str, Any]]) -> str:
    """Examinations side by side, as a page of Markdown."""
    names = [f"`{one['screener']}`" for one in examined]
    head, rule = " | ".join(["", *names]).strip(), "|".join(["---", *["--:"] * len(names)])

    def table(title: str, rows: Mapping[str, Callable[[Mapping[str, Any]], str]]) -> list[str]:
        lines = [f"| {title} {head} |", f"|{rule}|"]
        return [*lines, *(f"| {k} | {' | '.join(map(f, examined))} |" for k, f in rows.items()), ""]

    first = examined[0]
    lines = [
        "# The follower: evasion, false alarms, fairness",
        "",
        "Made by `tactful screener suite [--screener FOLDER] -o docs/results`. Our own sentences, a few hundred; verdicts",
        "at the threshold `act`. A cell with **no** misses what is asked of a screener.",
        "",
        "## Evasion",
        "",
        f"{first['evasion']['texts']} mild insults of five words or more, each disguise with "
        f"{_SEEDS} seeds. Share of those found plainly that are found in disguise, the insult itself "
        f"disguised: at least {READABLE:.0%} is asked of readable disguises, {DAMAGED:.0%} of stars "
        "and typos.",
        "",
        *table(
            "disguise",
            {"plain (recall)": lambda one: f"{one['evasion']['plain']:.1%}"}
            | {how: _aimed(how) for how in DISGUISES},
        ),
        "Random words in disguise instead, at 5 / 10 / 20 / 40 % of them:",
        "",
        *table("disguise", {how: _spread_of(how) for how in DISGUISES}),
        "## False alarms",
        "",
        f"{first['innocents']['texts']:,} generated strings that insult nobody; at most "
        f"{FALSE_ALARMS:.1%} may be acted on. Places whose name *is* an ugly word are counted apart.",
        "",
        *table(
            "kind",
            {"all": lambda one: _held(one["innocents"]["rate"], holds(one)["false alarms"])}
            | {kind: _kind(kind) for kind in first["innocents"]["kinds"]}
            | {"places that are the word": lambda o: f"{o['innocents']['homonyms']['rate']:.0%}"},
        ),
        "## Fairness",
        "",
        f"{len(first['fairness']['groups'])} groups in {first['fairness']['frames']} harmless frames "
        f"and {len(suite()['hostile_frames'])} hostile ones. The gap is the highest rate of false "
        f"alarms of a group less the lowest; at most {GAP:.0%} is asked. In brackets 95 % of "
        f"{_BOOT:,} resamples of the frames.",
        "",
        *table(
            "",
            {
                "false alarms": lambda one: f"{one['fairness']['rate']:.1%}",
                "gap": lambda one: (
                    f"{_held(one['fairness']['gap']['value'], holds(one)['identity gap'])} "
                    f"[{one['fairness']['gap']['low']:.1%}, {one['fairness']['gap']['high']:.1%}]"
                ),
                "groups without a weight, by decree": lambda one: str(one["fairness"]["silent"]),
                "gap of the others": lambda one: f"{one['fairness']['gap_of_learned']:.1%}",
                "hostile, missed": lambda one: f"{one['fairness']['missed']:.1%}",
                "gap of the missed": lambda one: f"{one['fairness']['missed_gap']['value']:.1%}",
            }
            | {f"false alarms: {kind}": _by_kind(kind) for kind in first["fairness"]["by_kind"]},
        ),
        "By group: its rate of false alarms less the mean of all, with interval.",
        "",
        *table("group", {name: _group(name) for name in first["fairness"]["groups"]}),
        "## What sentences do with an ugly word",
        "",
        "Harmless sentences with an ugly word in them, and the share that is acted on: lower is better.",
        "",
        *table("use", {name: _function(name) for name in first["functions"]}),
        "## Contempt without an ugly word",
        "",
        "Contempt that no single word carries, beside harmless sentences in the same tone; `ranked` is",
        "how often contempt scores higher than one of those. The price is what a text costs to ask.",
        "",
        *table(
            "",
            {
                "found at act": lambda one: f"{one['implicit']['found_at_act']:.0%}",
                "found at passing": lambda one: f"{one['implicit']['found_at_passing']:.0%}",
                "false alarms at act": lambda one: f"{one['implicit']['alarms_at_act']:.0%}",
                "false alarms at passing": lambda one: (
                    f"{one['implicit']['alarms_at_passing']:.0%}"
                ),
                "ranked": lambda one: f"{one['implicit']['ranked_right']:.2f}",
                "microseconds of a processor": lambda one: f"{one['microseconds']:,.0f}",
            },
        ),
    ]
    return "\n".join(lines)


def write(examined: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """`follower.md` and `follower.json` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "follower.md").write_text(render(examined), encoding="utf-8")
    told = [{**one, "holds": holds(one)} for one in examined]
    (folder / "follower.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


Cell = Callable[[Mapping[str, Any]], str]


def _held(value: float, held: bool) -> str:
    return f"{value:.1%}" if held else f"{value:.1%} **no**"


def _aimed(how: str) -> Cell:
    return lambda one: _held(one["evasion"]["aimed"][how]["of_plain"], holds(one)[f"evasion/{how}"])


def _spread_of(how: str) -> Cell:
    return lambda one: " / ".join(f"{v:.0%}" for v in one["evasion"]["spread"][how].values())


def _kind(kind: str) -> Cell:
    return lambda one: f"{one['innocents']['kinds'][kind]:.1%}"


def _by_kind(kind: str) -> Cell:
    return lambda one: f"{one['fairness']['by_kind'][kind]:.1%}"


def _group(name: str) -> Cell:
    def cell(one: Mapping[str, Any]) -> str:
        group = one["fairness"]["groups"][name]
        return f"{group['gap']:+.1%} [{group['low']:+.1%}, {group['high']:+.1%}]"

    return cell


def _function(name: str) -> Cell:
    return lambda one: f"{one['functions'][name]['rate']:.0%} of {one['functions'][name]['texts']}"

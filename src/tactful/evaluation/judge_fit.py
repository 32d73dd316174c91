"""From a recipe and a corpus to a judge: what its readers are shown, and how it is checked.

People's rewrites may teach a judge; they never teach what is judged. What machines get wrong is
made on purpose (`damage`), next to what people wrote, so that a judge knows both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tactful.config import Config, dump_recipe, load_recipe
from tactful.corpora.piles import Example, Pile, read_piles
from tactful.corpora.read import column_names, listed, read_rows, require_columns
from tactful.errors import ConfigError, DataError
from tactful.evaluation import damage
from tactful.evaluation.base import FloatArray
from tactful.evaluation.judges import PARTS, Letters, OwnJudge, Scale, letter_groups
from tactful.evaluation.reader import Read, Reader, ReaderConfig, plain
from tactful.evaluation.vectors import StaticVectors
from tactful.segment import split

RECIPE_FILE = "recipe.yaml"
# People leave something out, too: what they wrote makes the point in nine of ten cases.
_PEOPLE_KEEP = 0.9
# ... and damage does not always hurt.
_DAMAGED = 0.05


class JudgeRecipe(Config):
    """Everything that makes one judge."""

    name: str
    dir: Path
    """Where the corpus is; nobody's disk is like another's."""
    folds: tuple[int, ...]
    """Theirs alone: no policy, screener or gate has seen them."""
    dev_folds: tuple[int, ...]
    """Where scales are set and the judge is checked."""
    piles: tuple[Pile, ...]
    weights: dict[str, float] = {}  # noqa: RUF012  # pydantic copies defaults
    pairs: str
    """Sources with people's rewrites."""
    sentences: str
    """Sentences that linguists accept or do not."""
    people: str
    """Rewrites of machines, rated by people; only rows of `people_part` are read."""
    people_part: str = "tune"
    people_skip: tuple[str, ...] = ()
    """Rated rows, by `idx`, whose sources are tested on elsewhere."""
    seed: int = 0
    style: ReaderConfig = ReaderConfig()
    meaning: ReaderConfig = ReaderConfig()
    fluency: ReaderConfig = ReaderConfig()


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a reader is to say about a row, and how much that counts."""

    read: Read
    target: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and what people made of it."""

    source: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rated:
    """A rewrite with what people said of its meaning and fluency."""

    source: str
    rewrite: str
    style: float
    meaning: float
    fluency: float


def fit_judge(
    recipe: JudgeRecipe,
    out: Path,
    *,
    parts: Sequence[str] = PARTS,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> OwnJudge | None:
    """Teach the readers and the letters, set the scales on the dev folds, and write the judge.

    Each reader is written as soon as it has learned, and not taught again where `out` has it, so
    that a fit that broke off goes on. None comes back while other `parts` are still missing.
    """
    _claim(out, recipe)
    examples = read_piles(recipe.dir, recipe.piles)
    lessons = _Lessons(recipe, [e for e in examples if e.fold in recipe.folds])
    for part in parts:
        config: ReaderConfig = getattr(recipe, part)
        path = out / f"{part}.safetensors"
        if not path.is_file():
            taught: list[Lesson] = getattr(lessons, part)()
            reader = Reader.fit(
                [lesson.read for lesson in taught],
                [lesson.target for lesson in taught],
                weights=[lesson.weight for lesson in taught],
                config=config,
                progress=lambda done, total, part=part: progress(part, done, total),  # type: ignore[misc]  # mypy has no type for the default
            )
            # Whole or not at all: half a reader must not be taken for one.
            reader.save(path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
    if not all((out / f"{part}.safetensors").is_file() for part in PARTS):
        return None
    readers = {p: Reader.load(out / f"{p}.safetensors", getattr(recipe, p)) for p in PARTS}
    letters = fit_letters(lessons.examples, recipe.weights)
    vectors = StaticVectors.load()
    raw = OwnJudge(recipe.name, readers, letters, vectors, {})
    judge = OwnJudge(recipe.name, readers, letters, vectors, fit_scales(raw, recipe))
    judge.save(out)
    return judge


def _claim(out: Path, recipe: JudgeRecipe) -> None:
    """Readers of one recipe are no use to another: the folder belongs to the first."""
    out.mkdir(parents=True, exist_ok=True)
    # The folder of one machine is nobody else's business.
    shown = recipe.model_copy(update={"dir": Path("CORPUS")})
    path = out / RECIPE_FILE
    if path.exists() and load_recipe(path, JudgeRecipe) != shown:
        raise ConfigError(
            f"{out} holds readers that another recipe taught (see {path}). Give another folder, "
            "or empty this one."
        )
    dump_recipe(shown, path)


class _Lessons:
    """What each reader is shown, read from the corpus once."""

    def __init__(self, recipe: JudgeRecipe, examples: Sequence[Example]) -> None:
        self.recipe = recipe
        self.examples = examples
        self.pairs = read_pairs(recipe.dir / recipe.pairs, recipe.folds)
        self.sentences = read_sentences(recipe.dir / recipe.sentences, recipe.folds)
        if not examples or not self.pairs or not self.sentences:
            raise DataError(f"no texts, no pairs or no sentences in folds {recipe.folds}")

    def style(self) -> list[Lesson]:
        return style_lessons(self.examples, self.recipe.weights)

    def meaning(self) -> list[Lesson]:
        return meaning_lessons(self.examples, self.pairs, self.recipe.seed)

    def fluency(self) -> list[Lesson]:
        return fluency_lessons(self.examples, self.pairs, self.sentences, self.recipe.seed)


# --- what is read ---------------------------------------------------------------------------


def read_pairs(path: Path, folds: Sequence[int]) -> list[Pair]:
    """Sources with their references, of some folds."""
    return [
        Pair(row["toxic"], tuple(row["references"]))
        for row in _read(path, "toxic", "references", "fold")
        if row["fold"] in folds
    ]


def read_sentences(path: Path, folds: Sequence[int]) -> list[tuple[str, bool]]:
    """Sentences and whether they are acceptable."""
    return [
        (row["text"], bool(row["acceptable"]))
        for row in _read(path, "text", "acceptable", "fold")
        if row["fold"] in folds
    ]


def read_rated(path: Path, part: str, skip: Sequence[str] = ()) -> list[Rated]:
    """Rewrites that people rated, of one part, without those that are to be skipped."""
    scores = ("style", "meaning", "fluency")
    return [
        Rated(row["original"], row["rewritten"], *(float(row[name]) for name in scores))
        for row in _read(path, "original", "rewritten", "part", "idx", *scores)
        if row["part"] == part and str(row["idx"]) not in skip
    ]


def _read(path: Path, *columns: str) -> Iterator[Mapping[str, Any]]:
    """Rows that have all these columns; a row that has not is an error, as it would teach."""
    require_columns(path, column_names(path), columns)
    for row in read_rows(path):
        missing = [name for name in columns if row.values.get(name) is None]
        if row.error or missing:
            told = row.error or f"no {listed(missing)}"
            raise DataError(f"{path} row {row.number}: {told}")
        yield row.values


# --- what is taught -------------------------------------------------------------------------


def style_lessons(examples: Sequence[Example], weights: dict[str, float]) -> list[Lesson]:
    """Decent or not. Of a long toxic text nobody knows which sentence it is: it counts less."""
    lessons = []
    for example in examples:
        pieces = split(example.text)
        weight = weights.get(example.source, 1.0)
        if example.toxic and len(pieces) > 1:
            lessons.append(Lesson((example.text,), 0.0, weight / 2))
        else:
            lessons += [Lesson((p,), float(not example.toxic), weight) for p in pieces[:3]]
    return lessons


def fit_letters(examples: Sequence[Example], weights: dict[str, float]) -> Letters:
    """Logistic regression over groups of letters."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=3.0, max_iter=300)
    model.fit(
        letter_groups([e.text for e in examples]),
        [not e.toxic for e in examples],
        sample_weight=[weights.get(e.source, 1.0) for e in examples],
    )
    # Rounded as it will be saved, so that what is calibrated is what ships.
    rounded = model.coef_[0].astype(np.float16).astype(np.float32)
    return Letters(rounded, float(model.intercept_[0]))


def fluency_lessons(
    examples: Sequence[Example],
    pairs: Sequence[Pair],
    accepted: Sequence[tuple[str, bool]],
    seed: int,
) -> list[Lesson]:
    """What people wrote, insults included, against what was done to it.

    A missing or repeated word does not always hurt, so such damage is only probably bad.
    """
    random = np.random.default_rng(seed)
    insults = damage.find_insults([(p.source, r) for p in pairs for r in p.references])
    written = [piece for e in examples if len(e.text) < 400 for piece in split(e.text)[:1]]
    written = [text for text in written if 3 <= len(text.split()) <= 30]
    written = [written[i] for i in random.permutation(len(written))[:5000]]
    written += [r for p in pairs for r in p.references]
    vocabulary = damage.content_words([t for t in written if not insults.places(plain(t).split())])
    fillers = [*damage.FILLERS, *random.choice(vocabulary, 60).tolist()]
    anywhere: list[tuple[damage.Damage, float]] = [
        (damage.drop_word, 0.1),
        (damage.thin, 0.1),
        (damage.hang, 0.03),
        (damage.shuffle, 0.0),
        (damage.swap_neighbours, 0.1),
        (damage.repeat, 0.05),
        (damage.misplace(vocabulary), 0.1),
        (damage.misplace(damage.FILLERS), 0.1),
        (damage.insert(vocabulary), 0.05),
    ]
    lessons = [Lesson((text,), float(fine), 1.5) for text, fine in accepted]
    lessons += [Lesson((text,), 1.0, 1.5) for text in written]
    for text in written:
        words = plain(text).split()
        for i in random.choice(len(anywhere), 3, replace=False):
            kind, target = anywhere[i]
            if (spoilt := kind(words, random)) and spoilt != words:
                lessons.append(Lesson((" ".join(spoilt),), target, 0.75))
    for pair in pairs:
        lessons += _fluency_of_edits(pair, insults, fillers, random)
    return lessons


def _fluency_of_edits(
    pair: Pair, insults: damage.Insults, fillers: Sequence[str], random: np.random.Generator
) -> Iterator[Lesson]:
    """What machines do where an insult stood; what people also wrote is no damage."""
    words, people = plain(pair.source).split(), {plain(r) for r in pair.references}
    spoils = (
        (damage.fill(insults, fillers), 0.1),
        (damage.fill(insults, fillers), 0.1),
        (damage.patch(insults, fillers), 0.05),
        (damage.patch(insults, fillers), 0.05),
        (damage.cut_before(insults), 0.15),
    )
    for kind, target in spoils:
        spoilt = kind(words, random)
        if spoilt and len(spoilt) > 2 and spoilt != words and " ".join(spoilt) not in people:
            yield Lesson((" ".join(spoilt),), target)
    if (left := _without(words, insults)) and left not in people:
        yield Lesson((left,), _fine(words, insults))


def _without(words: Sequence[str], insults: damage.Insults) -> str:
    """The text without its insults, where there are some and something is left."""
    left = damage.drop_insults(words, insults)
    return " ".join(left) if 2 < len(left) < len(words) else ""


def _fine(words: Sequence[str], insults: damage.Insults) -> float:
    """How likely a deletion is fine that people did not choose: as often as they choose it."""
    return min(insults.droppable[words[i]] for i in insults.places(words))


def meaning_lessons(examples: Sequence[Example], pairs: Sequence[Pair], seed: int) -> list[Lesson]:
    """People's rewrites make the same point; what lost, flipped or changed it does not."""
    random = np.random.default_rng(seed + 1)
    insults = damage.find_insults([(p.source, r) for p in pairs for r in p.references])
    neutral = [e.text for e in examples if not e.toxic and 4 <= len(e.text.split()) <= 25]
    neutral = [neutral[i] for i in random.permutation(len(neutral))[:2500]]
    vocabulary = damage.content_words(neutral)
    praise = damage.fill(insults, damage.PRAISE)
    fill = damage.fill(insults, [*damage.FILLERS, *random.choice(vocabulary, 60).tolist()])
    near = _nearest([p.references[0] for p in pairs])
    spoil: list[tuple[damage.Damage, float]] = [
        (damage.flip, 0.03),
        (damage.shorten, 0.1),
        (damage.hang, 0.1),
        (damage.misplace(vocabulary), 0.1),
        (damage.misplace(damage.FILLERS), 0.1),
        (damage.thin, 0.15),
        (damage.drop_word, 0.3),
    ]
    worst = (
        (fill, 0.15),
        (praise, 0.02),
        (damage.cut_before(insults), 0.1),
        (damage.patch(insults, damage.FILLERS), 0.05),
    )
    lessons = []
    for number, pair in enumerate(pairs):
        source, people = plain(pair.source), {plain(r) for r in pair.references}
        words = source.split()

        def say(text: str, target: float, weight: float = 1.0, pair: Pair = pair) -> Lesson:
            return Lesson((pair.source, text), target, weight)

        for reference in pair.references:
            lessons.append(say(reference, 1.0, 2.0))
            kept = plain(reference).split()
            for i in random.choice(len(spoil), 2, replace=False):
                kind, target = spoil[i]
                if (spoilt := kind(kept, random)) and " ".join(spoilt) not in people:
                    lessons.append(say(" ".join(spoilt), target))
        for kind, target in worst:
            if (spoilt := kind(words, random)) and " ".join(spoilt) not in people:
                lessons.append(say(" ".join(spoilt), target))
        if (left := _without(words, insults)) and left not in people:
            lessons.append(say(left, _fine(words, insults)))
        lessons.append(say(pair.source, 1.0, 0.5))
        others = (
            pairs[near[number]].references[0],
            pairs[int(random.integers(len(pairs)))].references[-1],
        )
        lessons += [say(other, 0.0, 0.5) for other in others if plain(other) not in people]
        if number % 4 == 0:
            lessons.append(say(str(random.choice(damage.GENERIC)), 0.0))
    for text in neutral:
        words = plain(text).split()
        kind, target = spoil[int(random.integers(len(spoil)))]
        lessons.append(Lesson((text, text), 1.0, 0.5))
        if (spoilt := kind(words, random)) and spoilt != words:
            lessons.append(Lesson((text, " ".join(spoilt)), target, 0.75))
    return lessons


def _nearest(texts: Sequence[str]) -> list[int]:
    """For each text the one of the others that shares most groups of letters with it."""
    from sklearn.preprocessing import normalize

    groups = normalize(letter_groups(texts))
    near = []
    for start in range(0, len(texts), 512):
        alike = (groups[start : start + 512] @ groups.T).toarray()
        alike[np.arange(len(alike)), np.arange(start, start + len(alike))] = -1.0
        near += alike.argmax(axis=1).tolist()
    return near


# --- scales ---------------------------------------------------------------------------------


def fit_scales(judge: OwnJudge, recipe: JudgeRecipe) -> dict[str, Scale]:
    """Weigh the signals on the dev folds: style by pairs, meaning and fluency by what people said.

    Style is set on sources and people's rewrites, the kind of text that is judged, and not on
    piles whose labels are noisier. People rated what three machines wrote, which is all about
    its source, rarely word salad, and no deletion. So people's own rewrites join them, and damage
    of the other kinds; people's words decide, so damage weighs little where they rated.
    """
    random = np.random.default_rng(recipe.seed)
    rated = read_rated(recipe.dir / recipe.people, recipe.people_part, recipe.people_skip)
    # Every other row: the rest is there to check the judge on.
    pairs = read_pairs(recipe.dir / recipe.pairs, recipe.dev_folds)[::2]
    sources, people = [p.source for p in pairs], [p.references[0] for p in pairs]
    style = _logistic(
        judge.style_signals(sources + [r for p in pairs for r in p.references]),
        [0.0] * len(pairs) + [1.0] * sum(len(p.references) for p in pairs),
        [1.0] * len(pairs) + [1.0] * sum(len(p.references) for p in pairs),
    )
    others = [people[i] for i in random.permutation(len(people))]
    insults = damage.find_insults([(p.source, r) for p in pairs for r in p.references])
    patched = _damaged(sources, damage.patch(insults, damage.FILLERS), random)
    lost = _damaged(people, damage.flip, random) + _damaged(people, damage.thin, random)
    bad = [(sources[i], text) for i, text in patched + lost]
    meaning = _logistic(
        judge.meaning_signals(
            [r.source for r in rated] + sources * 2 + [source for source, _ in bad],
            [r.rewrite for r in rated] + people + others + [text for _, text in bad],
        ),
        [r.meaning for r in rated]
        + [_PEOPLE_KEEP] * len(pairs)
        + [0.0] * len(pairs)
        + [_DAMAGED] * len(bad),
        [
            *_weights(rated, rated, 1.0),
            *_weights(rated, pairs, 0.5),
            *_weights(rated, pairs, 0.3),
            *_weights(rated, bad, 0.05),
        ],
    )
    spoilt = [" ".join(random.permutation(text.split())) for text in people]
    spoilt += [text for _, text in patched]
    fluency = _logistic(
        judge.fluency_signals([r.rewrite for r in rated] + people + spoilt),
        [r.fluency for r in rated] + [1.0] * len(pairs) + [_DAMAGED] * len(spoilt),
        [
            *_weights(rated, rated, 1.0),
            *_weights(rated, pairs, 2.0),
            *_weights(rated, spoilt, 1.0),
        ],
    )
    return {"style": style, "meaning": meaning, "fluency": fluency}


def _damaged(
    texts: Sequence[str], kind: damage.Damage, random: np.random.Generator
) -> list[tuple[int, str]]:
    """What this damage makes of the texts that offer it a place, with their numbers."""
    made = ((i, kind(plain(text).split(), random)) for i, text in enumerate(texts))
    return [(i, " ".join(words)) for i, words in made if words]


def _weights(rated: Sequence[Rated], others: Sequence[object], share: float) -> list[float]:
    """Weights that let others count so many times as much as the rated rows, all together."""
    return [share * len(rated) / max(1, len(others))] * len(others)


def _logistic(signals: FloatArray, targets: Sequence[float], weights: Sequence[float]) -> Scale:
    """Logistic regression on probabilities: each row is a yes and a no, weighted."""
    from sklearn.linear_model import LogisticRegression

    wanted, matter = np.array(targets), np.array(weights)
    model = LogisticRegression(C=10.0, max_iter=1000)
    model.fit(
        np.concatenate([signals, signals]),
        np.repeat([1, 0], len(wanted)),
        sample_weight=np.concatenate([wanted * matter, (1 - wanted) * matter]),
    )
    return Scale(tuple(map(float, model.coef_[0])), float(model.intercept_[0]))

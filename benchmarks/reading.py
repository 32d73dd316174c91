"""Who reads better, a person's rewrite or ours? Sixty pairs, in random order, sides hidden.

    python benchmarks/reading.py sheet --data CORPUS [--system NAME=ADAPTER ...] [--fold 9] --out FOLDER
    ... somebody reads FOLDER/NAME.sheet.jsonl and writes FOLDER/NAME.ratings.jsonl ...
    python benchmarks/reading.py count FOLDER [-o docs/results/reading.json]

The texts are toxic ones of a fold with people's rewrites of them, the same for every system: fold 9, on
which things are chosen, or one of which nothing was ever read for our rewriter, to see what that is worth. A
line of ratings has the `id` of the sheet and, for each side, `decent`, `same_point` and
`well_written` as true or false (RUBRIC); the sides stay hidden until `count`. The side with more of
the three wins; where both have as many, `better` ("a", "b" or "tie") decides. `faults` of a side may
list hard ones (FAULTS). The sheets hold toxic text and stay where they are; only counts are kept.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tactful.corpora.read import read_rows
from tactful.rewriting.rewriter import Rewriter

RUBRIC = """
decent        nobody would mind it in a forum of strangers; criticism is fine, contempt is not
same_point    who does what to whom, for or against, asked or stated, how strongly: all as before,
              nothing invented, no negation turned; only the insult is gone or milder
well_written  a person could have written it: no hole, no word out of place, no nonsense; spelling
              and spacing of the source are nobody's fault
""".strip()
CRITERIA = ("decent", "same_point", "well_written")
FAULTS = ("negation_flipped", "invented_fact", "ungrammatical_hole")
SIDES = ("a", "b")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    sheet = commands.add_parser("sheet")
    sheet.add_argument("--data", type=Path, required=True)
    sheet.add_argument("--system", action="append", default=[], help="NAME=ADAPTER")
    sheet.add_argument("--rows", type=int, default=60)
    sheet.add_argument("--seed", type=int, default=0)
    sheet.add_argument("--fold", type=int, default=9)
    sheet.add_argument("--out", type=Path, required=True)
    count = commands.add_parser("count")
    count.add_argument("folder", type=Path)
    count.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    if given.command == "sheet":
        systems = dict(name.split("=", 1) for name in given.system) or {"shipped": ""}
        write_sheets(given.data, systems, given.rows, given.seed, given.out, fold=given.fold)
        return
    found = {path.name.split(".")[0]: counted(path) for path in keys(given.folder)}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    if given.output:
        # Nobody reads the sheets of an earlier reading again, so what came of it stays.
        before = given.output.exists() and json.loads(given.output.read_text("utf-8"))["systems"]
        kept = {"rubric": RUBRIC, "systems": {**(before or {}), **found}}
        given.output.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def write_sheets(
    data: Path, systems: dict[str, str], rows: int, seed: int, out: Path, *, fold: int
) -> None:
    """One sheet and one key for each system, about the same texts."""
    pile = [row.values for row in read_rows(data / "paradetox_train.jsonl")]
    pile = [row for row in pile if row["fold"] == fold and row["references"]]
    chosen = random.Random(seed).sample(pile, rows)
    texts = [row["toxic"] for row in chosen]
    out.mkdir(parents=True, exist_ok=True)
    for name, adapter in systems.items():
        rewriter = Rewriter.load(adapter=Path(adapter) if adapter else None)
        ours = [result.text for result in rewriter.rewrite_many(texts, force=True)]
        # Sides are drawn by system, or whoever reads two sheets could tell by comparing.
        rng = random.Random(f"{seed}/{name}")
        lines, key = [], {}
        for number, (row, text) in enumerate(zip(chosen, ours, strict=True)):
            side = rng.choice(SIDES)
            texts_by_side = {side: text, "ab".replace(side, ""): row["references"][0]}
            lines.append({"id": number, "source": row["toxic"], **texts_by_side})
            key[str(number)] = side
        shown = "".join(
            json.dumps({"id": x["id"], "source": x["source"], "a": x["a"], "b": x["b"]}) + "\n"
            for x in lines
        )
        (out / f"{name}.sheet.jsonl").write_text(shown, encoding="utf-8")
        (out / f"{name}.key.json").write_text(json.dumps(key), encoding="utf-8")


def keys(folder: Path) -> list[Path]:
    """The keys of those sheets that somebody has rated."""
    found = sorted(folder.glob("*.key.json"))
    return [p for p in found if (folder / p.name.replace(".key.json", ".ratings.jsonl")).exists()]


def counted(key_file: Path) -> dict[str, Any]:
    """Wins, ties and losses of the system against people, and how often each criterion held."""
    key = json.loads(key_file.read_text(encoding="utf-8"))
    ratings = key_file.with_name(key_file.name.replace(".key.json", ".ratings.jsonl"))
    rated = [json.loads(line) for line in ratings.read_text("utf-8").splitlines() if line.strip()]
    if {str(row["id"]) for row in rated} != set(key):
        raise SystemExit(f"{ratings} must rate each of the {len(key)} rows once")
    outcome: Counter[str] = Counter()
    held: dict[str, Counter[str]] = {"system": Counter(), "human": Counter()}
    for row in rated:
        ours = key[str(row["id"])]
        theirs = "ab".replace(ours, "")
        points = {side: sum(bool(row[side][name]) for name in CRITERIA) for side in SIDES}
        for who, side in (("system", ours), ("human", theirs)):
            held[who].update(name for name in CRITERIA if row[side][name])
            held[who]["all"] += points[side] == len(CRITERIA)
            held[who].update(fault for fault in row[side].get("faults", ()) if fault in FAULTS)
        if points[ours] != points[theirs]:
            outcome["win" if points[ours] > points[theirs] else "loss"] += 1
        else:
            better = row.get("better", "tie")
            outcome["tie" if better == "tie" else "win" if better == ours else "loss"] += 1
    return {
        "rows": len(rated),
        **{name: outcome[name] for name in ("win", "tie", "loss")},
        **{
            who: {name: count[name] / len(rated) for name in (*CRITERIA, "all", *FAULTS)}
            for who, count in held.items()
        },
    }


if __name__ == "__main__":
    main()

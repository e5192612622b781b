"""What detectors say of single clips, right and wrong: `predict --anyway` as a table.

    python -m benchmarks.openclips.verdicts FOLDER [--run DIR] [--model zoo:meso4] [--out FILE.md]

The clips are those of samples.csv that lie below FOLDER. A dozen clips measure nothing; they show
what a reader would meet.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.openclips.__main__ import run_folders
from unmask.pipeline.config import CropConfig, PredictConfig
from unmask.pipeline.errors import PipelineError, UsageError
from unmask.pipeline.prediction.predict import open_scorers, predict
from unmask.pipeline.prediction.verdicts import Prediction
from unmask.pipeline.reports.tables import Table, markdown

LIST = Path(__file__).with_name("samples.csv")


def read_samples(path: Path, folder: Path) -> list[tuple[Path, str]]:
    """(file, real or fake) of every listed clip below the folder. Raises UsageError for none."""
    with path.open(newline="", encoding="utf-8") as file:
        labels = {row["file"]: row["label"] for row in csv.DictReader(file)}
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p.name in labels)
    if not found:
        raise UsageError(f"{folder}: none of the {len(labels)} listed clips is in it")
    return [(place, labels[place.name]) for place in found]


def said(prediction: Prediction, number: int, label: str) -> tuple[str, str]:
    """A member's cell, and right, wrong or "" for neither."""
    if not prediction.members:
        return prediction.verdict, ""
    member = prediction.members[number]
    if member.verdict not in ("real", "fake"):
        return f"{member.verdict} {member.score:.2f}", ""
    mark = "right" if member.verdict == label else "wrong"
    return f"{member.verdict} {member.score:.2f}, {mark}", mark


def verdicts(samples: Sequence[tuple[Path, str]], models: Sequence[str]) -> Table:
    """A row a clip, a column a model, and how often each was right."""
    alike: dict[CropConfig, list[int]] = {}
    for number, model in enumerate(models):
        (scorer,) = open_scorers(PredictConfig(models=(model,), device="cpu"))
        alike.setdefault(scorer.crop, []).append(number)
    cells = [[("", "")] * len(models) for _ in samples]
    for numbers in alike.values():
        config = PredictConfig(models=tuple(models[n] for n in numbers), device="cpu")
        scorers = open_scorers(config)
        for row, (path, label) in enumerate(samples):
            prediction = predict(path, scorers, config).prediction
            for place, number in enumerate(numbers):
                cells[row][number] = said(prediction, place, label)
    rows = [
        (path.name, label, *(words for words, _ in row))
        for (path, label), row in zip(samples, cells, strict=True)
    ]
    marks = [[mark for _, mark in column] for column in zip(*cells, strict=True)]
    counts = [f"{m.count('right')} right, {m.count('wrong')} wrong" for m in marks]
    names = [Path(model).name for model in models]
    return Table("Clips", ("clip", "is", *names), (*rows, ("in all", "", *counts)))


def main(words: Sequence[str] | None = None) -> int:
    """Print the table; 0, or 2 and more for what cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.openclips.verdicts")
    parser.add_argument("folder", type=Path, help="holds some of the listed clips")
    parser.add_argument("--run", action="append", default=[], help="a trained run; repeatable")
    parser.add_argument("--model", action="append", default=[], help="zoo:NAME; repeatable")
    parser.add_argument("--zoo", type=Path, default=Path("zoo"))
    parser.add_argument("--accept-licence", action="append", default=[], dest="accepted")
    parser.add_argument("--list", type=Path, default=LIST, help="another list: file,label")
    parser.add_argument("--out", type=Path, help="the table as markdown")
    given = parser.parse_args(words)
    try:
        models = run_folders(given.run, given.model, given.zoo, given.accepted)
        if not models:
            raise UsageError("name at least one --run or --model")
        text = markdown(verdicts(read_samples(given.list, given.folder), models))
    except PipelineError as error:
        sys.stderr.write(f"verdicts: {error}\n")
        return error.exit_code
    sys.stdout.write(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Attempts to make the open detector better: the same faces, epochs and seed, a few other words.

    python -m benchmarks.open_attempts OPEN [--clips CLIPS] [--epochs 3] [--only NAME ...]

OPEN is what `make open-detector` left: its crops and its manifest are used again. What is done goes
to OPEN/attempts, where a finished attempt stays and is not trained again; attempts.md has a row for
each, and the open clips' table of all of them beside the plain baselines.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.open_detector import clips_table, clips_words, cpu_seconds, unmask
from unmask.pipeline.errors import PipelineError, UsageError
from unmask.pipeline.reports.tables import Table, markdown
from unmask.pipeline.runs.summary import summary

# Name -> what is added to `train --model lite --recipe real_only`.
ATTEMPTS: dict[str, tuple[str, ...]] = {
    "baseline": (),
    "size-224": ("--option", "size=224"),
    "inner-lower": ("--set", "blend.kinds=inner,lower"),
    "matched": ("--set", "blend.copy=matched"),
    "resampled": ("--set", "blend.copy=resampled"),
    "smoothed": ("--set", "blend.copy=smoothed"),
    "swap-like": ("--set", "blend.copy=matched,resampled,smoothed"),
    "noise-codec": ("--set", "augment=self_blend,noise,h264"),
    "sam": ("--set", "optimizer=sam"),
}


def attempt(name: str, open_folder: Path, epochs: int, seed: int) -> Path:
    """The run of one attempt, trained unless it is there. Raises UsageError, PipelineError."""
    (manifest,) = (open_folder / "manifests").rglob("train.txt")
    run = open_folder / "attempts" / name
    facts = run.with_suffix(".json")
    words = [
        *("train", "--model", "lite", "--recipe", "real_only", "--manifest", manifest),
        *("--cache", open_folder / "cache", "--run", run, "--epochs", epochs, "--seed", seed),
        *("--no-tensorboard", "--device", "cpu", *ATTEMPTS[name]),
    ]
    asked = {"epochs": epochs, "seed": seed, "words": list(ATTEMPTS[name])}
    if facts.is_file():
        if json.loads(facts.read_text())["asked"] != asked:
            raise UsageError(f"{run}: made with other settings; remove it, or name another folder")
        return run
    if run.exists():
        raise UsageError(f"{run}: half an attempt; remove it")
    before = cpu_seconds()
    unmask([str(word) for word in words])
    facts.write_text(json.dumps({"asked": asked, "cpu_seconds": cpu_seconds() - before}) + "\n")
    return run


def row_of(run: Path) -> tuple[str, ...]:
    """Attempt, its words, steps, AUC on self-blends of unseen people, CPU seconds."""
    found, facts = summary(run), json.loads(run.with_suffix(".json").read_text())
    words, area = " ".join(facts["asked"]["words"]), found["auc"]
    return (
        run.name,
        words,
        str(found["steps"]),
        "-" if area is None else f"{area:.3f}",
        f"{facts['cpu_seconds']:.0f}",
    )


def make(given: argparse.Namespace) -> Path:
    """All attempts that were asked for, and the path of their table. Raises PipelineError."""
    unknown = [name for name in given.only if name not in ATTEMPTS]
    if unknown:
        raise UsageError(f"no attempt '{unknown[0]}'; there are {', '.join(ATTEMPTS)}")
    if len(list((given.open / "manifests").rglob("train.txt"))) != 1:
        raise UsageError(f"{given.open}: not a folder that `make open-detector` left")
    runs = [attempt(n, given.open, given.epochs, given.seed) for n in given.only or ATTEMPTS]
    header = ("attempt", "words", "steps", "AUC, its own self-blends", "CPU s")
    table = Table("Attempts", header, tuple(row_of(run) for run in runs))
    text = f"Seed {given.seed}, {given.epochs} epochs.\n\n{markdown(table)}"
    if given.clips:
        text += "\n" + clips_table(clips_words(given.clips, runs))[0]
    path = given.open / "attempts.md"
    path.write_text(text, encoding="utf-8")
    return path


def main(words: Sequence[str] | None = None) -> int:
    """0 when the table was written, whatever it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.open_attempts")
    parser.add_argument("open", type=Path, help="what `make open-detector` left")
    parser.add_argument("--clips", type=Path, help="folder of open clips to measure on")
    parser.add_argument("--epochs", type=int, default=3, help="of each attempt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[], help="; ".join(ATTEMPTS))
    given = parser.parse_args(words)
    try:
        path = make(given)
    except PipelineError as error:
        sys.stderr.write(f"open_attempts: {error}\n")
        return error.exit_code
    sys.stdout.write(f"attempts: {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

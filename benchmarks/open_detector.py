"""From openly licensed faces to a `lite` run and its card.

    make open-detector FACES=DIR CLIPS=DIR
    python -m benchmarks.open_detector FACES [--clips CLIPS] [--out open-detector] [--seeds 0 1 2]

FACES holds pictures of faces, and may hold faces.csv with the columns file, identity, source and
licence: one person's pictures then stay in one split. Everything is done by the commands of unmask,
which the card lists; the same faces, seeds and machine give the same bytes. Stopped at any moment,
the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import io
import json
import resource
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.openclips import __main__ as openclips
from unmask.commands import main as cli
from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.errors import PipelineError, UsageError
from unmask.pipeline.machine.worker_pool import stop_workers
from unmask.pipeline.runs.summary import summary

SUFFIXES = (".jpg", ".jpeg", ".png")
PROGRESS = "progress.json"
# One person in seven validates.
OUT_OF, VALIDATE = 7, 0


@dataclass
class Road:
    """What is done, written down while it happens, so that the same command goes on after a stop.

    asked: what must be the same then. commands: as typed, of the whole road. done: names of those
    that ended. cpu_seconds, minutes: what earlier calls needed.
    """

    out: Path
    asked: dict[str, object] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0
    minutes: float = 0.0
    began: tuple[float, float] = field(default_factory=lambda: (cpu_seconds(), time.monotonic()))

    @classmethod
    def begun(cls, out: Path, asked: dict[str, object]) -> Road:
        """A new road, or the one that `out` holds. Raises UsageError for a folder of others."""
        path = out / PROGRESS
        if not path.is_file():
            if out.exists() and any(out.iterdir()):
                raise UsageError(f"{out}: not empty; name another folder with --out")
            return cls(out, asked)
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["asked"] != asked:
            raise UsageError(f"{out}: begun with other faces, steps or --limit; name another --out")
        return cls(out, asked, [], known["done"], known["cpu_seconds"], known["minutes"])

    def go(self, name: str, words: Sequence[object], instead: Sequence[object] = ()) -> None:
        """One command of unmask, unless an earlier call ended it; `instead` where it was begun.
        Raises UsageError where it fails.
        """
        typed = [str(word) for word in words]
        self.commands.append("unmask " + " ".join(typed))
        if name not in self.done:
            try:
                unmask([str(word) for word in instead] or typed)
                self.done.append(name)
            finally:
                self.keep()

    def spent(self) -> tuple[float, float]:
        """Seconds of CPU time and minutes by the clock, of all calls."""
        cpu, clock = self.began
        return (
            self.cpu_seconds + cpu_seconds() - cpu,
            self.minutes + (time.monotonic() - clock) / 60,
        )

    def keep(self) -> None:
        """Write down how far it came."""
        spent, minutes = self.spent()
        known = {"asked": self.asked, "done": self.done, "cpu_seconds": spent, "minutes": minutes}
        write_whole(self.out / PROGRESS, (json.dumps(known, indent=1) + "\n").encode())


def unmask(words: Sequence[str]) -> None:
    """One command. Raises UsageError where it fails."""
    sys.stderr.write(f"$ unmask {' '.join(words)}\n")
    code = cli.main(list(words))
    if words[0] == "extract":
        stop_workers()  # their CPU time counts once they have ended
    if code not in (0, 3):  # 3: some pictures show no face, and are named
        raise UsageError(f"`unmask {' '.join(words)}` ended with {code}")


def cpu_seconds() -> float:
    """Of this process and of those that it has seen end."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def clips_table(words: Sequence[str]) -> tuple[str, bool]:
    """What benchmarks.openclips says, and whether a detector passes the gate."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        code = openclips.main(list(words))
    return told.getvalue(), code == 0


def faces_in(folder: Path) -> list[dict[str, str]]:
    """A row a picture: file, identity, source, licence. Raises UsageError for a folder without."""
    rows = {}
    if (folder / "faces.csv").is_file():
        with (folder / "faces.csv").open(newline="", encoding="utf-8") as file:
            rows = {row["file"]: row for row in csv.DictReader(file)}
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not names:
        raise UsageError(f"{folder}: no pictures ({', '.join(SUFFIXES)}) in it")
    plain = {"source": folder.name, "licence": "not stated"}
    return [
        {"identity": Path(name).stem, **plain, **rows.get(name, {}), "file": name} for name in names
    ]


def split_of(identity: str) -> str:
    """train or val, the same for all pictures of a person, whoever else is there."""
    number = int(hashlib.sha256(identity.encode()).hexdigest(), 16)
    return "val" if number % OUT_OF == VALIDATE else "train"


def plant(faces: Sequence[dict[str, str]], folder: Path, root: Path) -> None:
    """ROOT/{train,val}/real/ with a copy of every picture: a real-only data set of unmask."""
    for face in faces:
        target = root / split_of(face["identity"]) / "real" / face["file"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / face["file"], target)


def clips_words(clips: Path, runs: Sequence[Path]) -> list[str]:
    """How benchmarks.openclips is asked for these runs."""
    return [str(clips), *(word for run in runs for word in ("--run", str(run)))]


def card(
    road: Road, faces: Sequence[dict[str, str]], runs: Sequence[Path], table: str, passed: bool
) -> str:
    """What a stranger must know of the detector, as markdown."""
    per = Counter((face["source"], face["licence"]) for face in faces)
    lines = ["# Open detector", "", "A `lite` trained on real footage only: it finds composited"]
    lines += ["faces, not wholly generated ones. Not a product: see the gate below.", ""]
    lines += ["## Trained on", "", "| source | pictures | licence |", "|---|---:|---|"]
    lines += [f"| {source} | {count} | {licence} |" for (source, licence), count in per.items()]
    people = {face["identity"] for face in faces}
    held = sum(split_of(name) == "val" for name in people)
    lines += ["", f"{len(people)} persons, {held} of them for validation.", "", "## Made by", ""]
    cpu, minutes = road.spent()
    spent = f"{cpu:,.0f} seconds of CPU time, {minutes:.0f} minutes by the clock."
    lines += ["```", *road.commands, "```", "", spent, ""]
    lines += ["## Seeds", "", "| run | seed | steps | loss | AUC, self-blends of unseen people |"]
    lines += ["|---|---:|---:|---:|---:|"]
    areas = []
    for run in runs:
        found = summary(run)
        area, loss = found["auc"], found["loss"]
        areas += [] if area is None else [area]
        shown = ["-" if value is None else f"{value:.3f}" for value in (loss, area)]
        lines.append(f"| {run.name} | {found['seed']} | {found['steps']} | {' | '.join(shown)} |")
    if len(areas) > 1:
        spread = f"{np.mean(areas):.3f}, standard deviation {np.std(areas, ddof=1):.3f}"
        lines += ["", f"AUC over seeds: {spread}."]
    lines += ["", "## Calibration", "", "None: there is no fake footage to calibrate on. The gate"]
    lines += ["sets its threshold on other people's clips; `evaluate --threshold-from` on a"]
    lines += ["validation list of yours makes one for `predict`.", "", "## Open clips", ""]
    lines += [table.strip() or "Not measured: no --clips.", ""]
    lines += [f"Gate: {'passed' if passed else 'not passed; `predict` does not take it unasked'}."]
    return "\n".join(lines) + "\n"


def make(given: argparse.Namespace) -> Path:
    """The whole road; the card's path. Raises PipelineError."""
    out = given.out
    faces = faces_in(given.faces)
    faces = faces[:: max(1, len(faces) // given.limit)] if given.limit else faces
    digest = hashlib.sha256()
    for face in faces:
        digest.update(face["file"].encode() + (given.faces / face["file"]).read_bytes())
    asked = {"faces": digest.hexdigest(), "steps": given.steps, "limit": given.limit}
    road = Road.begun(out, asked)
    out.mkdir(parents=True, exist_ok=True)
    road.keep()
    if "extract" not in road.done:
        plant(faces, given.faces, out / "faces")
    cache, manifests = out / "cache", out / "manifests"
    road.go(
        "extract",
        [
            *("extract", "--dataset", "folder", "--root", out / "faces", "--name", "openfaces"),
            *("--cache", cache, "--manifests", manifests),
            *("--clips", 1, "--frames", 1, "--no-bands"),
        ],
    )
    (manifest,) = manifests.rglob("train.txt")
    runs = [out / "runs" / f"seed-{seed}" for seed in given.seeds]
    for seed, run in zip(given.seeds, runs, strict=True):
        begun = (run / "run.json").is_file()
        road.go(
            run.name,
            [
                *("train", "--model", "lite", "--recipe", "real_only", "--manifest", manifest),
                *("--cache", cache, "--run", run, "--seed", seed, "--steps", given.steps),
                *("--no-tensorboard", "--device", "cpu"),
            ],
            ["train", "--resume", "--run", run] if begun else [],
        )
    table, passed = "", False
    if given.clips:
        words = clips_words(given.clips, runs)
        road.commands.append(f"python -m benchmarks.openclips {' '.join(words)}")
        table, passed = clips_table(words)
    path = out / "card.md"
    path.write_text(card(road, faces, runs, table, passed), encoding="utf-8")
    road.keep()
    return path


def main(words: Sequence[str] | None = None) -> int:
    """0 when the card was written, whatever it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.open_detector")
    parser.add_argument("faces", type=Path, help="pictures of faces, and perhaps faces.csv")
    parser.add_argument("--clips", type=Path, help="folder of open clips to measure on")
    parser.add_argument("--out", type=Path, default=Path("open-detector"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=0, help="of each seed; 0: the recipe's epochs")
    parser.add_argument("--limit", type=int, default=0, help="about so many pictures; 0: all")
    given = parser.parse_args(words)
    try:
        path = make(given)
    except PipelineError as error:
        sys.stderr.write(f"open_detector: {error}\n")
        return error.exit_code
    sys.stdout.write(f"card: {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

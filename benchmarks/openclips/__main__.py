"""`python -m benchmarks.openclips FOLDER [--run DIR] [--model zoo:NAME]`: the tables and the gate's
answer; 0 when some detector passes it, 3 when none does.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.openclips import baselines
from benchmarks.openclips.areas import by_kind
from benchmarks.openclips.clips import LIST, Clip, Seen, find_files, in_panel, look, read_list
from unmask.pipeline.config import CropConfig, PredictConfig
from unmask.pipeline.errors import PipelineError, UsageError
from unmask.pipeline.prediction.predict import open_scorers, predict
from unmask.pipeline.reports.tables import Table, markdown
from unmask.pipeline.scores.gate import Answer, Share, answer, pair_auc
from unmask.pipeline.zoo.install import PREFIX, open_release

Scores = NDArray[np.float64]


def detector_scores(models: Sequence[str], seen: Sequence[Seen]) -> list[Scores]:
    """For each model (R,) mean logit of each clip's person as `predict` sees it, the highest of its
    panel; NaN where it sees none. Models of the same crops look at them together.
    """
    alike: dict[CropConfig, list[int]] = {}
    for number, model in enumerate(models):
        (scorer,) = open_scorers(PredictConfig(models=(model,), device="cpu"))
        alike.setdefault(scorer.crop, []).append(number)
    found = [np.full(len(seen), np.nan) for _ in models]
    for numbers in alike.values():
        whole = PredictConfig(models=tuple(models[n] for n in numbers), device="cpu")
        opened = {
            config.faces: (config, open_scorers(config))
            for config in (whole, replace(whole, faces="all"))
        }
        for row, one in enumerate(seen):
            config, scorers = opened["trained" if one.clip.panel == (0, 1) else "all"]
            prediction = predict(one.path, scorers, config).prediction
            inside = [
                track
                for track in prediction.tracks
                if in_panel(one.clip, prediction.width, np.median(track.box, axis=0))
            ]
            for place, number in enumerate(numbers):
                means = [np.mean([point.logit for point in t.points[place]]) for t in inside]
                found[number][row] = max(means, default=np.nan)
    return found


def baseline_scores(seen: Sequence[Seen]) -> dict[str, Scores | list[Scores]]:
    """Name -> scores, or those of several seeds."""
    features, weights = baselines.frozen_features(seen)
    return {
        "file facts": baselines.file_facts(seen),
        "face blur": baselines.face_blur(seen),
        "face blurrier than around": baselines.blurrier_than_around(seen),
        "picture size": baselines.picture_size(seen),
        f"linear probe ({weights} lite)": baselines.linear_probe(features, seen),
        f"untrained head, {baselines.SEEDS} seeds": baselines.untrained_heads(features),
    }


def row_of(name: str, clips: Sequence[Clip], scores: Scores | list[Scores]) -> tuple[str, ...]:
    """Name, AUC of each kind and of same-file pairs, clips scored; of several seeds the middle and
    the range.
    """
    if isinstance(scores, list):
        cells = [_areas(clips, one) for one in scores]
        joined = []
        for column in zip(*cells, strict=True):
            values = [share.value for share in column if share is not None]
            spread = f" ({min(values):.2f} to {max(values):.2f})" if values else ""
            joined.append(f"{np.median(values):.2f}{spread}" if values else "-")
        return (name, *joined, str(len(clips)))
    known = np.isfinite(scores)
    kept = [clip for clip, good in zip(clips, known, strict=True) if good]
    areas = _areas(kept, scores[known])
    return (name, *(str(share) if share else "-" for share in areas), str(len(kept)))


def _areas(clips: Sequence[Clip], score: Scores) -> list[Share | None]:
    label = np.array([int(clip.fake) for clip in clips])
    pairs = pair_auc(label, score, [c.pair for c in clips], [c.group for c in clips])
    return [*by_kind(clips, score).values(), pairs]


def gate_of(clips: Sequence[Clip], scores: Scores, *, regression: bool = False) -> Answer:
    """The gate's answer on the clips that count; with `regression` on all pairs, which proves
    nothing but shows what the gate would say.
    """
    chosen = [
        n
        for n, clip in enumerate(clips)
        if np.isfinite(scores[n]) and (bool(clip.pair) if regression else clip.counts)
    ]
    kept = [clips[n] for n in chosen]
    label = np.array([int(clip.fake) for clip in kept])
    return answer(label, scores[chosen], [c.pair for c in kept], [c.group for c in kept])


def tables(seen: Sequence[Seen], detectors: dict[str, Scores]) -> tuple[Table, Table]:
    """Everything by kind, and what the gate says of the detectors."""
    clips = [one.clip for one in seen]
    kinds = sorted({clip.kind for clip in clips if clip.fake})
    everything = detectors | baseline_scores(seen)
    areas = Table(
        "AUC [95 % over persons]",
        ("what", *kinds, "same-file pairs", "clips"),
        tuple(row_of(name, clips, scores) for name, scores in everything.items()),
    )
    rows = []
    for name, scores in detectors.items():
        for what, regression in (("gate", False), ("on all pairs, no proof", True)):
            found = gate_of(clips, scores, regression=regression)
            shares = [
                "-" if share is None else f"{share:.0%}" for share in (found.alarms, found.caught)
            ]
            words = "passed" if found.passed else "; ".join(found.reasons)
            rows.append((name, what, str(found.pairs or "-"), *shares, words))
    header = ("detector", "clips", "pairs", "alarms", "caught", "answer")
    return areas, Table("The gate", header, tuple(rows))


def main(words: Sequence[str] | None = None) -> int:
    """Print the tables; 0 passed, 3 not passed, 2 for what cannot be done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.openclips")
    parser.add_argument("folder", type=Path, help="holds some of the listed clips")
    parser.add_argument("--run", action="append", default=[], help="a trained run; repeatable")
    parser.add_argument("--model", action="append", default=[], help="zoo:NAME; repeatable")
    parser.add_argument("--zoo", type=Path, default=Path("zoo"))
    parser.add_argument("--accept-licence", action="append", default=[], dest="accepted")
    parser.add_argument("--list", type=Path, default=LIST, help="another list of clips")
    parser.add_argument("--out", type=Path, help="the tables as markdown")
    parser.add_argument("--scores", type=Path, help="the scores of the one detector as CSV")
    given = parser.parse_args(words)
    try:
        return _measure(given)
    except PipelineError as error:
        sys.stderr.write(f"openclips: {error}\n")
        return error.exit_code


def run_folders(
    runs: Sequence[str], models: Sequence[str], zoo: Path, accepted: Sequence[str]
) -> list[str]:
    """What open_scorers takes, releases of the zoo as the run folders that they become. Raises
    UsageError, CheckpointError.
    """
    found = [*runs]
    for name in models:
        found.append(str(open_release(name, zoo, accepted)) if name.startswith(PREFIX) else name)
    return found


def _measure(given: argparse.Namespace) -> int:
    if given.scores and len(given.run) + len(given.model) != 1:
        raise UsageError("--scores keeps those of one detector: one --run or one --model")
    listed = read_list(given.list)
    files = find_files(listed, given.folder)
    looked = [look(clip, files[clip.file]) for clip in listed if clip.file in files]
    seen = [one for one in looked if one is not None]
    models = run_folders(given.run, given.model, given.zoo, given.accepted)
    scores = detector_scores(models, seen)
    detectors = {Path(model).name: one for model, one in zip(models, scores, strict=True)}
    areas, gate = tables(seen, detectors)
    counts = (
        f"{len(files)} of {len(listed)} listed clips are here, {len(seen)} show a face; "
        f"{len({one.clip.group for one in seen})} persons."
    )
    text = f"{counts}\n\n{areas.title}\n\n{markdown(areas)}"
    if detectors:
        text += f"\n{gate.title}\n\n{markdown(gate)}"
    sys.stdout.write(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")
    if given.scores:
        _write_scores(given.scores, seen, *detectors.values())
    clips = [one.clip for one in seen]
    return 0 if any(gate_of(clips, scores).passed for scores in detectors.values()) else 3


def _write_scores(path: Path, seen: Sequence[Seen], scores: Scores) -> None:
    """What `predict` reads again of a run that ships. A clip without a score is left out."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "label", "kind", "group", "pair", "counts", "score"])
        for n, one in enumerate(seen):
            clip = one.clip
            facts = [clip.file, int(clip.fake), clip.kind, clip.group, clip.pair, int(clip.counts)]
            if np.isfinite(scores[n]):
                table.writerow([*facts, f"{scores[n]:.9g}"])


if __name__ == "__main__":
    sys.exit(main())

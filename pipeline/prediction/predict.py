"""Videos and trained models come in, verdicts go out: the whole road for one file, through the
functions of training.

    decode -> faces -> aligned crops (pipeline/extraction/crops.py, as extract)  ->  prepare
    (pipeline/clips/prepare.py, as evaluate) -> scores per sample -> per person -> per video ->
    calibration -> verdict

A bad video is an answer, never an exception. With `every`, a video is read in stretches and memory
stays bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from unmask.pipeline.config import CropConfig, ExtractConfig, PredictConfig
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.retry import with_fallback
from unmask.pipeline.decode.windows import plan_clips
from unmask.pipeline.errors import CheckpointError, UsageError, VideoError
from unmask.pipeline.extraction.crops import detector_for, read_crops, refusal_of
from unmask.pipeline.extraction.resume import content_hash
from unmask.pipeline.faces.find import find_crops
from unmask.pipeline.prediction.exported import open_exported
from unmask.pipeline.prediction.moments import Keeper, Moment
from unmask.pipeline.prediction.person_scores import PersonScores
from unmask.pipeline.prediction.scorer import Scorer, from_run
from unmask.pipeline.prediction.timeline import Timeline
from unmask.pipeline.prediction.trust import doubts_about_looks
from unmask.pipeline.prediction.verdicts import (
    Member,
    Prediction,
    Verdict,
    decide,
    doubtful,
    refused_prediction,
    sentence,
    zone,
)
from unmask.pipeline.records import Crops, Frames, VideoInfo

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Looked:
    """A prediction and the moments of each of its tracks, for pictures."""

    prediction: Prediction
    moments: tuple[tuple[Moment, ...], ...] = ()


def open_scorers(config: PredictConfig) -> list[Scorer]:
    """One scorer per run folder or exported file, all of which must cut crops alike.

    Raises CheckpointError, UsageError: no model, the same twice, or crops of different settings.
    """
    if not config.models:
        raise UsageError("predict needs a model: --run DIR or --model FILE")
    scorers = [_open(Path(path), config) for path in config.models]
    for other in scorers[1:]:
        if other.crop != scorers[0].crop:
            raise UsageError(
                f"{other.source} and {scorers[0].source} were trained on crops of different "
                f"settings ({_differences(other.crop, scorers[0].crop)}); an ensemble looks at the "
                "same crops"
            )
    names = [scorer.name for scorer in scorers]
    return [
        s if names.count(s.name) == 1 else replace(s, name=f"{s.name}-{number}")
        for number, s in enumerate(scorers, 1)
    ]


def _open(path: Path, config: PredictConfig) -> Scorer:
    if path.is_dir():
        return from_run(path, config)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such run folder or exported model")
    return open_exported(path, config)


def _differences(one: CropConfig, other: CropConfig) -> str:
    pairs = CropConfig.differing(one.settings(), other.settings())
    return ", ".join(f"{name} {a} and {b}" for name, (a, b) in pairs.items())


def predict(
    path: Path,
    scorers: Sequence[Scorer],
    config: PredictConfig,
    *,
    moments: bool = False,
    progress: Progress = lambda share: None,
) -> Looked:
    """The verdict on one video.

    moments: keep samples for pictures.
    progress: hears the share of the video that was read, 0 to 1.
    Raises CheckpointError when a model answers with something that is not a number; never for a bad
    video.
    """
    try:
        info, watch = _look(path, scorers, config, moments, progress)
        digest = content_hash(path)
    except Exception as error:
        refusal = refusal_of(error, config.limits)
        if refusal is None:
            raise
        return Looked(refused_prediction(path, *refusal))
    placed = watch.tracks()
    keeper = watch.keeper
    shown = tuple(tuple(keeper.of(place)) if keeper else () for place, _ in placed)
    tracks = tuple(track for _, track in placed)
    found = replace(
        judge(path, tracks, scorers, anyway=config.anyway), **_media_facts(info), sha256=digest
    )
    if found.members and scorers[0].crop.faces == "main" and watch.faces > 1:
        also = "only the main person was judged, others were seen: --faces all"
        found = replace(
            found, reason=f"{found.reason}; {also}", flags=(*found.flags, "other_persons")
        )
    return Looked(found, shown)


def judge(
    path: Path,
    tracks: Sequence[PersonScores],
    scorers: Sequence[Scorer],
    *,
    anyway: bool = False,
) -> Prediction:
    """The verdict from the persons' scores: highest person, temperature, mean of the members, zone.

    The highest because one fake face is enough. Two videos cannot differ in it by how many persons
    are real. A doubt about a model or about the crops it saw makes the verdict unsure.
    anyway: say what the scores say in spite of doubts.
    """
    if not tracks:
        return refused_prediction(path, "no_face", "none in any clip")
    members = []
    for number, scorer in enumerate(scorers):
        raw = max(track.score[number] for track in tracks)
        calibrated = float(scorer.calibration.of(np.array(raw)))
        members.append(
            Member(
                scorer.name,
                raw,
                calibrated,
                decide(calibrated, scorer.calibration.unsure),
                scorer.calibration,
            )
        )
    score = float(np.mean([member.score for member in members]))
    threshold, unsure = zone([scorer.calibration for scorer in scorers])
    bare = decide(score, unsure)
    said = sentence(bare, score, unsure, members)
    doubts = _doubts(tracks, scorers, bare)
    withheld = bool(doubts) and not anyway
    return Prediction(
        path=path,
        verdict="unsure" if withheld else bare,
        reason=doubtful(said, doubts, withheld) if doubts else said,
        score=score,
        threshold=threshold,
        unsure=unsure,
        members=tuple(members),
        tracks=tuple(tracks),
        bare=bare,
        doubts=tuple(doubts),
        withheld=withheld,
    )


def _doubts(tracks: Sequence[PersonScores], scorers: Sequence[Scorer], bare: Verdict) -> list[str]:
    """Doubts about each member, and about the crops on which the verdict rests.

    `fake` rests on the highest person, `real` on everybody.
    """
    found = []
    for number, scorer in enumerate(scorers):
        whose = f"{scorer.name}: " if len(scorers) > 1 else ""
        doubts = list(scorer.doubts)
        highest = max(tracks, key=lambda track: track.score[number])
        for track in tracks if bare == "real" else [highest]:
            who = f"person {track.number + 1}: " if len(tracks) > 1 else ""
            unlike = doubts_about_looks(scorer.knowledge, np.array(track.looks))
            doubts += [f"{who}{line}" for line in unlike]
        found += [f"{whose}{line}" for line in doubts]
    return found


def _look(
    path: Path, scorers: Sequence[Scorer], config: PredictConfig, moments: bool, progress: Progress
) -> tuple[VideoInfo, Timeline]:
    settings = ExtractConfig(crop=scorers[0].crop, limits=config.limits)
    if config.every > 0:
        return _look_densely(path, scorers, config, moments, progress)
    info, people = read_crops(path, settings)
    progress(0.5)
    watch = _watch(scorers, config, info, moments)
    watch.add(people)
    progress(1.0)
    return info, watch


def _watch(
    scorers: Sequence[Scorer], config: PredictConfig, info: VideoInfo, moments: bool
) -> Timeline:
    keeper = Keeper(float(info.pts[0]), float(info.pts[-1])) if moments else None
    return Timeline(scorers, config.batch, config.rule, config.every > 0, keeper)


def _look_densely(
    path: Path, scorers: Sequence[Scorer], config: PredictConfig, moments: bool, progress: Progress
) -> tuple[VideoInfo, Timeline]:
    """Stretch after stretch; a broken plan voids what was read, so everything starts again
    sequentially.
    """
    crop = scorers[0].crop

    def read(info: VideoInfo) -> tuple[VideoInfo, Timeline]:
        watch = _watch(scorers, config, info, moments)
        count = max(1, round(float(info.pts[-1] - info.pts[0]) / config.every))
        windows = plan_clips(info, count, crop.frames)
        done = 0
        for people, clips in stretches(decode_clips(path, info, windows), crop, config.segment):
            watch.add(people)
            done += clips
            progress(done / len(windows))
        watch.finish()
        return info, watch

    return with_fallback(path, config.limits, read)


def stretches(
    clips: Iterator[Frames], crop: CropConfig, length: int
) -> Iterator[tuple[list[Crops], int]]:
    """The persons of every `length` clips, nobody where no face was found, and how many clips that
    were.
    """
    detector = detector_for(crop)
    while (first := next(clips, None)) is not None:
        counted = _Counted(first, islice(clips, length - 1))
        del first
        try:
            people = find_crops(counted, detector, crop)
        except VideoError as error:
            if error.reason != "no_face":
                raise
            people = []
        yield people, counted.count


class _Counted:
    """An iterator that knows how many it gave; it lets go of each clip before it asks for the
    next.
    """

    def __init__(self, first: Frames, rest: Iterator[Frames]) -> None:
        self._waiting, self._rest, self.count = [first], rest, 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> Frames:
        clip = self._waiting.pop() if self._waiting else next(self._rest)
        self.count += 1
        return clip


def _media_facts(info: VideoInfo) -> dict[str, Any]:
    flags = [*info.flags, *(["sequential"] if info.guard else [])]
    return {
        "start": float(info.pts[0]),
        "duration": float(info.pts[-1] - info.pts[0]),
        "width": info.width,
        "height": info.height,
        "frames": info.frames,
        "fps": info.fps,
        "codec": info.codec,
        "flags": tuple(flags),
    }

"""What an evaluation found, as records: each knows its JSON, and reads it back strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from unmask.pipeline.config import PersonRule, VideoRule
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import ScoresError
from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.scores.bootstrap import LEVEL
from unmask.pipeline.scores.brier import Brier
from unmask.pipeline.scores.conformal import NEVER
from unmask.pipeline.scores.json_fields import Fields
from unmask.pipeline.scores.metrics import METRICS, Measure
from unmask.pipeline.scores.risk_coverage import RiskCoverage

FORMAT = 1
OUTCOMES = ("real_as_real", "real_as_fake", "fake_as_real", "fake_as_fake")


@dataclass(frozen=True)
class Coverage:
    """Who should have been scored; every count is (videos of REAL, videos of FAKE).

    scored: have a score.
    failed: extraction saw the file and kept nothing; by reason in `reasons`.
    missing: named in the manifest, not in the cache.
    absent: an official list names them, and no file of theirs was ever on the disk; they are in no
        share, because a part of an official set is the normal case.
    known: an outcomes list lay beside the manifest, so that failed = 0 means that none failed.
    """

    failed: tuple[int, int] = (0, 0)
    missing: tuple[int, int] = (0, 0)
    reasons: dict[str, int] = field(default_factory=dict)
    known: bool = False
    scored: tuple[int, int] = (0, 0)
    absent: tuple[int, int] = (0, 0)

    @property
    def unscored(self) -> tuple[int, int]:
        return self.failed[0] + self.missing[0], self.failed[1] + self.missing[1]

    @property
    def caution(self) -> str:
        """What a reader must know of videos that nobody had, or ""."""
        count = sum(self.absent)
        if not count:
            return ""
        return (
            f"{count} videos that an official list names were never on this disk: these are the "
            "numbers of a part of that set."
        )

    @property
    def share(self) -> float | None:
        """Share scored of all that should have been."""
        total = sum(self.scored) + sum(self.unscored)
        return sum(self.scored) / total if total else None

    def as_json(self) -> dict[str, object]:
        return {
            "scored": _per_class(self.scored),
            "failed": {**_per_class(self.failed), "known": self.known},
            "missing": _per_class(self.missing),
            "absent": _per_class(self.absent),
            "reasons": self.reasons,
            "share": self.share,
        }

    @classmethod
    def from_json(cls, raw: Fields) -> Coverage:
        failed = raw.object("failed")
        reasons = raw.object("reasons")
        return cls(
            failed=_pair(failed),
            missing=_pair(raw.object("missing")),
            reasons={name: reasons.whole(name) for name in reasons},
            known=failed.flag("known"),
            scored=_pair(raw.object("scored")),
            absent=_pair(raw.object("absent")) if raw.has("absent") else (0, 0),
        )


def _per_class(counts: tuple[int, int]) -> dict[str, int]:
    return {"n": sum(counts), "real": counts[REAL], "fake": counts[FAKE]}


def _pair(raw: Fields) -> tuple[int, int]:
    return raw.whole("real"), raw.whole("fake")


@dataclass(frozen=True)
class Options:
    """How the numbers are made. rule: mean, max, median or mean-logit over clips; tracks: the same
    over persons.
    """

    rule: VideoRule = "mean"
    tracks: PersonRule = "max"
    threshold: float = 0.5
    resamples: int = 1000
    seed: int = 0

    @classmethod
    def from_json(cls, raw: Fields) -> Options:
        return cls(
            rule=raw.text("rule"),
            tracks=raw.text("tracks"),
            threshold=raw.number("threshold", 0, 1),
            resamples=raw.whole("resamples"),
            seed=raw.whole("seed", least=None),
        )


@dataclass(frozen=True)
class Sizes:
    """n rows, of which real and fake, and of how many videos they come."""

    n: int
    real: int
    fake: int
    videos: int


@dataclass(frozen=True)
class Block:
    """The metrics of some rows, by key of METRICS, and how many rows there are."""

    sizes: Sizes
    metrics: Mapping[str, Measure]

    def measure(self, key: str) -> Measure:
        """The metric, also one that was unknown when the block was measured."""
        return self.metrics.get(key) or Measure(None, note=f"{key} was not measured")

    def as_json(self) -> dict[str, object]:
        metrics = {key: value.as_json() for key, value in self.metrics.items()}
        return {**asdict(self.sizes), "metrics": metrics}

    @classmethod
    def from_json(cls, raw: Fields) -> Block:
        sizes = Sizes(*(raw.whole(name) for name in ("n", "real", "fake", "videos")))
        if sizes.n != sizes.real + sizes.fake or sizes.videos > sizes.n:
            raise raw.refusal(f"{sizes} do not add up")
        return cls(sizes, {key: _measure_from(key, one) for key, one in raw.objects("metrics")})


def _measure_from(key: str, raw: Fields) -> Measure:
    lowest, highest = METRICS[key].bounds if key in METRICS else (-np.inf, np.inf)
    return Measure(
        value=raw.number_or_none("value", lowest, highest),
        low=raw.number_or_none("low"),
        high=raw.number_or_none("high"),
        note=raw.text("note"),
    )


@dataclass(frozen=True)
class UnsureZone:
    """What the zone (low, high) of calibrated scores keeps back.

    share: videos inside, None without videos.
    wrong_outside: share of wrong verdicts outside of it, None where nothing is outside.
    wrong_everywhere: share of wrong verdicts without a zone.
    real_called_fake, fake_called_real: share of all videos of the class; None without any.
    promise: what the calibration promises of them, "" where it promises nothing.
    """

    low: float
    high: float
    share: float | None
    wrong_outside: float | None
    wrong_everywhere: float | None
    real_called_fake: float | None = None
    fake_called_real: float | None = None
    promise: str = ""


@dataclass(frozen=True)
class Calibrated:
    """The video numbers at the calibrated score and its threshold.

    source: what the calibration was fitted on.
    note: what was not possible.
    """

    block: Block
    threshold: float
    temperature: float
    unsure: UnsureZone
    confusion: dict[str, int]
    source: str
    note: str

    def as_json(self) -> dict[str, object]:
        return {
            **self.block.as_json(),
            "threshold": self.threshold,
            "temperature": self.temperature,
            "unsure": asdict(self.unsure),
            "confusion": self.confusion,
            "source": self.source,
            "note": self.note,
        }

    @classmethod
    def from_json(cls, raw: Fields) -> Calibrated:
        zone = raw.object("unsure")
        shares = ("share", "wrong_outside", "wrong_everywhere")
        by_class = ("real_called_fake", "fake_called_real")
        return cls(
            block=Block.from_json(raw),
            threshold=raw.number("threshold", 0, 1),
            temperature=raw.number("temperature", 0),
            unsure=UnsureZone(
                zone.number("low", 0, 1),
                zone.number("high", 0, NEVER),
                *(zone.number_or_none(name, 0, 1) for name in shares),
                # Evaluations made before these were counted have none.
                *(zone.number(name, 0, 1) if zone.has(name) else None for name in by_class),
                zone.text("promise") if zone.has("promise") else "",
            ),
            confusion=_confusion_from(raw),
            source=raw.text("source"),
            note=raw.text("note"),
        )


@dataclass(frozen=True)
class Honesty:
    """What the videos' scores are worth as probabilities, and what refusing to answer is worth.

    brier: at the set's own class ratio. even: the same with both classes weighing alike.
    risk: of decisions at the threshold.
    """

    brier: Brier
    even: Brier
    risk: RiskCoverage

    @classmethod
    def from_json(cls, raw: Fields) -> Honesty:
        """Raises ScoresError naming what is not as it was written."""
        parts = {"brier": Brier, "even": Brier, "risk": RiskCoverage}
        return cls(
            **{
                name: record_of(kind, raw.object(name).raw, f"{raw.where}: {name}", ScoresError)
                for name, kind in parts.items()
            }
        )


def _confusion_from(raw: Fields) -> dict[str, int]:
    counts = raw.object("confusion")
    return {name: counts.whole(name) for name in OUTCOMES}


@dataclass(frozen=True)
class Result:
    """All numbers of one scores table.

    levels: clip or frame, and video: a clip or frame counts by its own label, a video by the
        video's.
    datasets, compressions: what the videos are of.
    by: video level in parts: method, compression and dataset -> each value -> its block.
    rows_by: the same by method at the level of clips or frames.
    confusion: videos by truth and decision.
    failed_as_half: the videos with every unscored one at 0.5, None where all were scored.
    calibrated: the videos after a calibration, None without one.
    honesty: of the videos' scores as they are, None where nothing was scored.
    """

    options: Options
    levels: dict[str, Block]
    datasets: tuple[str, ...]
    compressions: tuple[str, ...]
    by: dict[str, dict[str, Block]]
    rows_by: dict[str, dict[str, Block]]
    confusion: dict[str, int]
    coverage: Coverage
    failed_as_half: Block | None = None
    calibrated: Calibrated | None = None
    honesty: Honesty | None = None

    @property
    def calibration_warning(self) -> str:
        """A sentence when the calibration makes the log-loss of these videos larger, else ""."""
        if self.calibrated is None:
            return ""
        raw = self.levels["video"].measure("log_loss").value
        calibrated = self.calibrated.block.measure("log_loss").value
        if raw is None or calibrated is None or calibrated <= raw + 1e-9:
            return ""
        return (
            f"the calibration makes the video log-loss worse here ({raw:.4f} before, "
            f"{calibrated:.4f} after): it was fitted on videos unlike these"
        )

    @property
    def video(self) -> Block:
        """The numbers at video level, which are always there."""
        return self.levels["video"]

    def as_json(self) -> dict[str, object]:
        half = self.failed_as_half
        raw: dict[str, object] = {
            "format": FORMAT,
            "options": {**asdict(self.options), "interval": LEVEL},
            "levels": _blocks_as_json(self.levels),
            "sets": {"dataset": list(self.datasets), "compression": list(self.compressions)},
            "by": {name: _blocks_as_json(blocks) for name, blocks in self.by.items()},
            "rows_by": {name: _blocks_as_json(blocks) for name, blocks in self.rows_by.items()},
            "confusion": self.confusion,
            "coverage": self.coverage.as_json(),
            "failed_as_half": None if half is None else half.as_json(),
        }
        if self.calibrated is not None:
            raw["calibrated"] = self.calibrated.as_json()
        if self.honesty is not None:
            raw["honesty"] = asdict(self.honesty)
        return raw

    @classmethod
    def from_json(cls, raw: Fields) -> Result:
        """The same result again. Raises ScoresError naming the field that is absent or wrong."""
        if raw.whole("format") != FORMAT:
            raise raw.refusal(f"of a format this version does not read, it reads {FORMAT}")
        levels, sets = _blocks_from(raw.object("levels")), raw.object("sets")
        if "video" not in levels:
            raise raw.refusal("levels without video")
        return cls(
            options=Options.from_json(raw.object("options")),
            levels=levels,
            datasets=sets.texts("dataset"),
            compressions=sets.texts("compression"),
            by=_parts_from(raw, "by", ("method", "compression", "dataset")),
            rows_by=_parts_from(raw, "rows_by", ("method",)),
            confusion=_confusion_from(raw),
            coverage=Coverage.from_json(raw.object("coverage")),
            failed_as_half=Block.from_json(raw.object("failed_as_half"))
            if raw.has("failed_as_half")
            else None,
            calibrated=Calibrated.from_json(raw.object("calibrated"))
            if raw.has("calibrated")
            else None,
            honesty=Honesty.from_json(raw.object("honesty")) if raw.has("honesty") else None,
        )


def _blocks_as_json(blocks: Mapping[str, Block]) -> dict[str, object]:
    return {name: block.as_json() for name, block in blocks.items()}


def _blocks_from(raw: Fields) -> dict[str, Block]:
    return {name: Block.from_json(raw.object(name)) for name in raw}


def _parts_from(raw: Fields, name: str, columns: tuple[str, ...]) -> dict[str, dict[str, Block]]:
    parts = raw.object(name)
    return {column: _blocks_from(parts.object(column)) for column in columns}

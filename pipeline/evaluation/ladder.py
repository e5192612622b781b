"""What is left of a detector level by level: crops treated badly (robustness.py), and videos worn
before the face is cut (wear.py).

A detector that calls everything fake keeps its AUC, so every level also has the balanced accuracy
at the threshold of clean videos and the share that is called fake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.clips.batches import batches
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.errors import UsageError
from unmask.pipeline.evaluation import robustness
from unmask.pipeline.evaluation.inference import Change, Scoring
from unmask.pipeline.evaluation.recut import Again, WornError, cut_again
from unmask.pipeline.evaluation.robustness import Perturbation, distort, failing, subset
from unmask.pipeline.evaluation.wear import WEAR, Wear
from unmask.pipeline.reports.plots import Picture, lines
from unmask.pipeline.reports.tables import NONE, Table
from unmask.pipeline.scores import calibration as cal
from unmask.pipeline.scores.evaluate_scores import evaluate_scores
from unmask.pipeline.scores.results import Options
from unmask.pipeline.scores.table import Scores
from unmask.pipeline.scores.video_scores import video_scores

AUC, BALANCED, CALLED = "video AUC", "balanced ACC", "called fake"
CLEAN = "clean"

Row = tuple[str | float | None, ...]


@dataclass(frozen=True)
class Step:
    """One level of one kind.

    what: the level in words. values: AUC, BALANCED, CALLED -> number, None where a class lacks.
    methods: of the fakes -> their AUC against all reals.
    psnr: dB of the crops against the cached ones, None where they are equal.
    """

    what: str
    values: Mapping[str, float | None]
    methods: Mapping[str, float | None]
    psnr: float | None = None


@dataclass(frozen=True)
class Kind:
    """One row: its name and title, and its steps, clean first. videos: that were scored."""

    name: str
    title: str
    videos: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Ladder:
    """Video numbers under every distortion.

    threshold: of decisions, chosen on clean videos.
    line: what was scored, and what was left out.
    """

    kinds: tuple[Kind, ...]
    threshold: float
    line: str

    @property
    def header(self) -> tuple[str, ...]:
        """Names of the levels, clean first."""
        longest = max((len(kind.steps) for kind in self.kinds), default=1)
        return (CLEAN, *map(str, range(1, longest)))

    @property
    def rows(self) -> tuple[Row, ...]:
        """Title of each kind, then its video AUC at each level."""
        return self._rows(lambda step: step.values[AUC])

    def _rows(self, value: Callable[[Step], str | float | None]) -> tuple[Row, ...]:
        wide = len(self.header)
        found = []
        for kind in self.kinds:
            values = [value(step) for step in kind.steps]
            found.append((kind.title, *values, *[None] * (wide - len(values))))
        return tuple(found)

    @property
    def tables(self) -> list[tuple[str, Table]]:
        """What a table says, and the table: AUC, the two at the threshold, AUC of each generator,
        what the levels are.
        """
        at = f"at the threshold of clean videos, {self.threshold:.3g}"
        told = [
            ("AUC", AUC, self.rows),
            (f"Balanced accuracy {at}", BALANCED, self._rows(lambda step: step.values[BALANCED])),
            (f"Share of videos called fake {at}", CALLED, self._rows(lambda s: s.values[CALLED])),
        ]
        for name in self.generators:
            rows = self._rows(lambda step, name=name: step.methods.get(name))
            told.append((f"AUC of {name} against all reals", f"AUC, {name}", rows))
        told.append(("What the levels are", "level", self._rows(lambda step: step.what)))
        tables = []
        for title, first, rows in told:
            plain = [tuple(NONE if v is None and first == "level" else v for v in r) for r in rows]
            tables.append((title, Table(title, (first, *self.header), tuple(plain))))
        return tables

    @property
    def generators(self) -> list[str]:
        """Methods of the fakes, where there is more than one."""
        found = dict.fromkeys(name for kind in self.kinds for name in kind.steps[0].methods)
        return list(found) if len(found) > 1 else []

    @property
    def long(self) -> Table:
        """One row a level, for a spreadsheet."""
        names = (AUC, BALANCED, CALLED)
        header = ("kind", "title", "level", "what", "videos", *names, "PSNR dB")
        rows = [
            (
                *(kind.name, kind.title, level, step.what, kind.videos),
                *(step.values[name] for name in names),
                step.psnr,
                *(step.methods.get(name) for name in self.generators),
            )
            for kind in self.kinds
            for level, step in enumerate(kind.steps)
        ]
        return Table("Robustness", (*header, *(f"AUC {n}" for n in self.generators)), tuple(rows))

    def pictures(self) -> list[Picture]:
        """A curve a kind."""
        drawn = []
        for kind in self.kinds:
            series = {
                name: [step.values[name] for step in kind.steps] for name in (AUC, BALANCED, CALLED)
            }
            ticks = [step.what for step in kind.steps]
            drawn.append(lines(kind.title, series, ticks, "share", "", (4.6, 3.2)))
        return drawn


@dataclass
class _Error:
    """Squared error of changed crops, summed."""

    total: float = 0.0
    count: int = 0

    def watch(self, change: Change) -> Change:
        """The same change, whose error is added up."""

        def watched(
            clip: NDArray[np.uint8], sample: Sample, rng: np.random.Generator
        ) -> NDArray[np.uint8]:
            before = clip.astype(np.float32)
            after = change(clip, sample, rng)
            self.total += float(((after - before) ** 2).sum())
            self.count += before.size
            return after

        return watched

    @property
    def psnr(self) -> float | None:
        return 10 * float(np.log10(255**2 * self.count / self.total)) if self.total else None


def check_kinds(only: Sequence[str]) -> None:
    """Raises UsageError for a name that is no kind, and for one whose encoder PyAV lacks."""
    known = robustness.known_perturbations()
    for name in only:
        if name not in known and name not in WEAR:
            names = ", ".join([*known, *WEAR])
            raise UsageError(f"no such kind of wear: {name!r}; known are {names}")
        if name in WEAR and (why := WEAR[name].lacking):
            raise UsageError(f"{name}: {why}")


@dataclass(frozen=True)
class Robustness:
    """What is scored, and how a video is decided.

    videos: at most so many of each class, 0 for all.
    clips: at most so many of each video, 0 for all.
    only: names of the kinds, () for all; a kind that is asked for by name and cannot be had is
        refused instead of left out.
    calibration: whose temperature and threshold decide; None for the threshold of `options`.
    """

    scoring: Scoring
    options: Options
    videos: int
    clips: int
    only: tuple[str, ...] = ()
    calibration: cal.Calibration | None = None

    @property
    def threshold(self) -> float:
        fitted = self.calibration
        return self.options.threshold if fitted is None else fitted.threshold

    def measure(self, source: ClipSource) -> Ladder:
        """Every kind at every level, on a subset that is named.

        A kind of another distribution that fails is left out, and so is one without its encoder;
        the line says why. Raises UsageError for a name that is no kind.
        """
        crops, worn, left_out = self._kinds(source)
        chosen = subset(source.labels, self.videos)
        clean = self._step(source, "robustness: clean", chosen, CLEAN)
        kinds = [self._crops(source, kind, chosen, clean) for kind in crops]
        line = (
            f"Measured on {len(chosen)} videos, {self.clips or 'all'} clips each. Distortions and "
            "levels of DeeperForensics-1.0 are applied to the face crops."
        )
        if worn:
            again = self._again(source, chosen, worn)
            line += _cut_line(again, len(chosen))
            if len({int(source.labels[video]) for video in again.origins}) == 2:
                kinds += self._worn(source, worn, again, clean, len(chosen), left_out)
            else:
                line += " So these kinds are left out."
        for name, why in left_out.items():
            line += f" {name} is left out: {why}."
        for kind in crops:
            if kind.name not in robustness.OWN_NAMES:
                line += f" {kind.title} is of package {kind.origin}."
        return Ladder(tuple(kinds), self.threshold, line)

    def _kinds(self, source: ClipSource) -> tuple[list[Perturbation], list[Wear], dict[str, str]]:
        check_kinds(self.only)
        known = robustness.known_perturbations()
        chosen = set(self.only) or {*known, *WEAR}
        one = source.evaluation_samples(1)[:1]
        first = next(batches(source, [one], threads=1, as_stored=False))
        broken = failing(first.pixels[0].numpy())
        left_out = {
            f"{name} of {known[name].origin}": f"it fails at {why}"
            for name, why in broken.items()
            if name in chosen
        }
        worn = [wear for name, wear in WEAR.items() if name in chosen]
        left_out |= {wear.name: wear.lacking for wear in worn if wear.lacking}
        crops = [kind for name, kind in known.items() if name in chosen - broken.keys()]
        return crops, [wear for wear in worn if not wear.lacking], left_out

    def _again(self, source: ClipSource, chosen: NDArray[np.int64], worn: list[Wear]) -> Again:
        def widest(count: int) -> tuple[int, int]:
            before, after = zip(*(wear.around(count) for wear in worn), strict=True)
            return max(before), max(after)

        samples, videos = source.evaluation_samples(self.clips), chosen.tolist()
        told = self.scoring.progress
        return cut_again(
            source,
            videos,
            samples,
            widest,
            lambda done: told("robustness: cut again", done, len(videos)),
        )

    def _crops(
        self, source: ClipSource, kind: Perturbation, chosen: NDArray[np.int64], clean: Step
    ) -> Kind:
        steps = [clean]
        for level, parameter in enumerate(kind.levels, 1):
            what = f"robustness: {kind.name} {level}"
            change = partial(_distorted, kind, level)
            steps.append(self._step(source, what, chosen, f"{parameter:g}", change))
        return Kind(kind.name, kind.title, len(chosen), tuple(steps))

    def _worn(
        self,
        source: ClipSource,
        worn: list[Wear],
        again: Again,
        clean: Step,
        videos: int,
        left_out: dict[str, str],
    ) -> list[Kind]:
        """left_out: gets a kind for which a file failed after all, which costs no other kind."""
        chosen = np.array(sorted(again.origins))
        if len(chosen) < videos:
            clean = self._step(source, "robustness: clean, cut again", chosen, CLEAN)
        kinds = []
        for wear in worn:
            steps = [clean]
            try:
                for level, (what, _) in enumerate(wear.levels, 1):
                    name, change = f"robustness: {wear.name} {level}", again.change(wear, level)
                    steps.append(self._step(source, name, chosen, what, change))
            except WornError as error:
                left_out[wear.name] = str(error)
                continue
            kinds.append(Kind(wear.name, wear.title, len(chosen), tuple(steps)))
        return kinds

    def _step(
        self,
        source: ClipSource,
        name: str,
        chosen: NDArray[np.int64],
        what: str,
        change: Change | None = None,
    ) -> Step:
        error = _Error()
        watched = None if change is None else error.watch(change)
        scored = self.scoring.score(
            source, name, per_video=self.clips, only=chosen.tolist(), change=watched
        )
        return replace(self.step_of(scored.scores, what), psnr=error.psnr)

    def step_of(self, scores: Scores, what: str) -> Step:
        """The numbers of one scores table."""
        result = evaluate_scores(scores, replace(self.options, resamples=0))
        joined, fitted = (
            video_scores(scores, self.options.rule, self.options.tracks),
            self.calibration,
        )
        decided = (
            joined.score if fitted is None else cal.calibrate(joined.score, fitted.temperature)
        )
        called = decided >= self.threshold
        right = [(called == label)[joined.label == label] for label in (0, 1)]
        both = all(map(len, right))
        values = {
            AUC: result.video.measure("auc").value,
            BALANCED: float(np.mean([part.mean() for part in right])) if both else None,
            CALLED: float(called.mean()),
        }
        methods = {name: found.measure("auc").value for name, found in result.by["method"].items()}
        return Step(what, values, methods)


def _distorted(
    kind: Perturbation,
    level: int,
    clip: NDArray[np.uint8],
    sample: Sample,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    return distort(clip, kind, level, rng)


def _cut_line(again: Again, videos: int) -> str:
    """What was done to whole videos, and which of them could not be cut again."""
    line = (
        " What needs the video itself (codecs, platforms, other frame rates, resizing, a filmed "
        "screen, watermarks) is done to its frames, and the face is cut at the clean video's box; "
        f"{len(again.origins)} of {videos} videos gave the cached pixels again."
    )
    for reason, count in Counter(again.reasons.values()).most_common(3):
        line += f" {count} did not: {reason}."
    return line

"""Numbers and pictures in, one HTML file out that needs nothing else: no network, no script,
everything escaped.

Bricks for every report of the project: `page` renders a template of pipeline/reports/templates with
autoescape and refuses a name that was not given; templates/bricks.html holds figures, tables and
facts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.reports.honesty import honesty_lines, percent
from unmask.pipeline.reports.html import page
from unmask.pipeline.reports.plots import Picture, image_uri
from unmask.pipeline.reports.tables import NONE, Cell, Table, levels_table, metrics_table, number
from unmask.pipeline.scores.metrics import METRICS, brief_keys, calibration_keys
from unmask.pipeline.scores.results import Block, Calibrated, Coverage, Result

CAUTIONS = (
    "They are not evidence about any single video, and no score is a probability of guilt.",
    "They hold for these videos: other generators, cameras, compressions and people can lower "
    "them at any time.",
    "Intervals say how much other videos of the same kind would move the numbers. They do not "
    "cover other kinds of "
    "video, another training seed, or mistakes in the labels.",
    "Videos in which no face was found are not scored. Look at “Who was counted” before quoting "
    "a number.",
)


@dataclass(frozen=True)
class Wrong:
    """One of the videos farthest from their label.

    score: after calibration where there is one.
    picture: JPEG or PNG of what the model looked at.
    what: name of the picture.
    wrong: on the wrong side of the threshold.
    """

    video_id: str
    label: int
    score: float
    method: str
    picture: bytes
    what: str
    wrong: bool


@dataclass(frozen=True)
class Extras:
    """What a full evaluation shows and a bare scores file cannot.

    provenance: (title, facts) groups.
    protocol, probe: their table, and a line below the heading.
    robustness: what each table says and the table, the most telling three first; a picture a kind;
        and the line.
    """

    pictures: Sequence[Picture] = ()
    worst: Sequence[Wrong] = ()
    provenance: Sequence[tuple[str, Sequence[tuple[str, Cell]]]] = ()
    protocol: tuple[Table, str] | None = None
    robustness: tuple[Sequence[tuple[str, Table]], Sequence[Picture], str] | None = None
    probe: tuple[Table, str] | None = None
    cautions: Sequence[str] = field(default=())


def evaluation_page(title: str, subtitle: str, result: Result, extras: Extras) -> str:
    """The report of one evaluation as HTML."""
    breakdowns = list(_breakdowns(result.by))
    calibration = None if result.calibrated is None else _calibration(result.calibrated)
    sections = [("What they are not", "not"), ("Numbers", "numbers")]
    sections += [("Curves", "curves")] if extras.pictures else []
    sections += [("Who was counted", "who")]
    sections += [("In parts", "parts")] if breakdowns else []
    sections += [("Calibration", "calibration")] if calibration else []
    sections += [("Robustness", "robustness")] if extras.robustness else []
    sections += [("Linear probe", "probe")] if extras.probe else []
    sections += [("Published", "published")] if extras.protocol else []
    sections += [("Farthest off", "worst")] if extras.worst else []
    options, half = result.options, result.failed_as_half
    return page(
        "evaluation.html",
        title=title,
        subtitle=subtitle,
        sections=[*sections, ("How it was made", "made")],
        tiles=_tiles(result),
        cautions=[*extras.cautions, *CAUTIONS],
        levels=levels_table(result.levels),
        resamples=f"{options.resamples:,}",
        threshold=options.threshold,
        rule=options.rule,
        notes=[*(f"{line}." for line in honesty_lines(result.honesty)), *_notes(result)],
        meanings=[(metric.name, metric.meaning) for metric in METRICS.values()],
        pictures=extras.pictures,
        coverage=_coverage(result.coverage),
        coverage_line=_coverage_line(result.coverage),
        failed_as_half=half
        and metrics_table("Unscored at 0.5", {"all videos": half}, "videos", brief_keys()),
        breakdowns=breakdowns,
        calibration=calibration,
        robustness=extras.robustness
        and dict(zip(("tables", "pictures", "line"), extras.robustness, strict=True)),
        probe=extras.probe and dict(zip(("table", "line"), extras.probe, strict=True)),
        protocol=extras.protocol and dict(zip(("table", "line"), extras.protocol, strict=True)),
        worst=[_wrong(entry) for entry in extras.worst],
        worst_line=_worst_line(extras.worst, result),
        provenance=[(name, list(pairs)) for name, pairs in extras.provenance],
    )


def _worst_line(worst: Sequence[Wrong], result: Result) -> str:
    found = result.calibrated
    threshold = result.options.threshold if found is None else found.threshold
    wrong = sum(entry.wrong for entry in worst)
    which = f"{wrong} of these {len(worst)} are" if wrong else "None of these is"
    return (
        f"At most a few of each class. {which} on the wrong side of the threshold "
        f"{number(threshold)}{'' if found is None else ', at the calibrated score'}. What is "
        "marked moved the score; it need not be what was manipulated."
    )


def _tiles(result: Result) -> list[tuple[str, str, str]]:
    """The four things a reader wants first."""
    tiles = []
    for key in ("auc", "balanced_acc", "eer"):
        value = result.video.measure(key)
        known = value.low is not None and value.high is not None
        below = f"{number(value.low)} to {number(value.high)}" if known else value.note
        tiles.append((number(value.value), f"video {METRICS[key].name}", below))
    share = result.coverage.share
    scored = (
        NONE
        if share is None
        else f"{100 * share:.0f} %"
        if share in (0, 1)
        else f"{100 * share:.1f} %"
    )
    sizes = result.video.sizes
    return [*tiles, (scored, "of the videos scored", f"{sizes.real} real, {sizes.fake} fake")]


def _notes(result: Result) -> list[str]:
    """What weakens a value, once per metric and level."""
    lines = [
        f"{level} {METRICS[key].name}: {measure.note}."
        for level, block in result.levels.items()
        for key, measure in block.metrics.items()
        if measure.note and measure.value is not None
    ]
    if result.video.measure("auc").value == 1.0:
        lines.append(
            "Perfect separation has an interval of width zero; that is a limit of the bootstrap, "
            "not certainty."
        )
    return lines


def _coverage(coverage: Coverage) -> Table:
    rows = [
        (text, sum(counts), counts[REAL], counts[FAKE])
        for text, counts in (
            ("scored", coverage.scored),
            ("refused by extraction", coverage.failed),
            ("in the manifest, not in the cache", coverage.missing),
            ("named by an official list, never on this disk", coverage.absent),
        )
        if sum(counts) or counts is not coverage.absent
    ]
    return Table("Who was counted", ("videos", "all", "real", "fake"), tuple(rows))


def _coverage_line(coverage: Coverage) -> str:
    if not coverage.known:
        return (
            "No list of outcomes lay beside the manifest, so nobody knows how many videos "
            "extraction refused."
        )
    reasons = ", ".join(f"{name} {count}" for name, count in coverage.reasons.items())
    return (
        f"Refused because: {reasons}." if reasons else "Extraction refused no video of this split."
    )


def _breakdowns(by: Mapping[str, Mapping[str, Block]]) -> list[tuple[str, str, Table]]:
    lines = {
        "method": ("By method", "The fakes of each method against all reals."),
        "compression": ("By compression", "Both classes of each compression."),
        "dataset": ("By dataset", "Both classes of each dataset."),
    }
    return [
        (title, line, metrics_table(title, by[key], key, brief_keys()))
        for key, (title, line) in lines.items()
        if set(by[key]) - {"", "none", "unknown"} and (key == "method" or len(by[key]) > 1)
    ]


def _calibration(calibrated: Calibrated) -> dict[str, object]:
    unsure = calibrated.unsure
    facts: list[tuple[str, Cell]] = [
        ("fitted on", calibrated.source),
        ("temperature", calibrated.temperature),
        ("threshold", calibrated.threshold),
        ("unsure zone", f"{number(unsure.low)} to {number(unsure.high)}"),
        *([("promise", unsure.promise)] if unsure.promise else []),
        ("videos in the zone", percent(unsure.share)),
        ("reals called fake", percent(unsure.real_called_fake)),
        ("fakes called real", percent(unsure.fake_called_real)),
        ("wrong outside the zone", percent(unsure.wrong_outside)),
        ("wrong without a zone", percent(unsure.wrong_everywhere)),
        *([("note", calibrated.note)] if calibrated.note else []),
    ]
    return {
        "line": "Temperature, threshold and unsure zone "
        + (
            "come from validation videos as far as these decide them (see the note), and are only "
            if calibrated.note
            else "were fitted on validation videos and are only "
        )
        + "applied here.",
        "table": metrics_table(
            "After calibration", {"video": calibrated.block}, "level", calibration_keys()
        ),
        "facts": facts,
    }


def _wrong(entry: Wrong) -> dict[str, str]:
    truth = "fake" if entry.label else "real"
    method = "" if entry.method in ("", "real") else f" ({entry.method})"
    said = "wrong" if entry.wrong else "right"
    return {
        "title": entry.video_id,
        "uri": image_uri(entry.picture),
        "alt": f"{entry.what} of a {truth} video that scored {entry.score:.3f}",
        "caption": f"{truth}{method}, score {entry.score:.3f}: {said}",
    }

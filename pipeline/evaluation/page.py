"""Numbers and pictures in, one HTML file out that needs nothing else: no network, no script,
everything escaped.

Bricks for every report of the project: `page` renders a template of pipeline/reports/templates with
autoescape and refuses a name that was not given; templates/bricks.html holds figures, tables and
facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from unmask.pipeline.reports.html import page
from unmask.pipeline.reports.plots import Picture, image_uri
from unmask.pipeline.reports.tables import NONE, Cell, Table, levels_table, metrics_table, number
from unmask.pipeline.scores.metrics import METRICS, Measure, brief_keys, calibration_keys

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
    """One of the most wrong videos. picture: JPEG or PNG of what the model looked at; what: its
    name.
    """

    video_id: str
    label: int
    score: float
    method: str
    picture: bytes
    what: str


@dataclass(frozen=True)
class Extras:
    """What a full evaluation shows and a bare scores file cannot.

    provenance: (title, facts) groups.
    protocol, robustness: their table, and a line below the heading.
    """

    pictures: Sequence[Picture] = ()
    worst: Sequence[Wrong] = ()
    provenance: Sequence[tuple[str, Sequence[tuple[str, Cell]]]] = ()
    protocol: tuple[Table, str] | None = None
    robustness: tuple[Table, Picture, str] | None = None
    cautions: Sequence[str] = field(default=())


def evaluation_page(title: str, subtitle: str, result: dict[str, object], extras: Extras) -> str:
    """The report of one evaluation as HTML.

    result: what evaluation.evaluate_scores returned.
    """
    breakdowns = list(_breakdowns(result["by"]))
    calibration = _calibration(result.get("calibrated"))
    sections = [("What they are not", "not"), ("Numbers", "numbers")]
    sections += [("Curves", "curves")] if extras.pictures else []
    sections += [("Who was counted", "who")]
    sections += [("In parts", "parts")] if breakdowns else []
    sections += [("Calibration", "calibration")] if calibration else []
    sections += [("Robustness", "robustness")] if extras.robustness else []
    sections += [("Published", "published")] if extras.protocol else []
    sections += [("Most wrong", "worst")] if extras.worst else []
    options, half = result["options"], result["failed_as_half"]
    return page(
        "evaluation.html",
        title=title,
        subtitle=subtitle,
        sections=[*sections, ("How it was made", "made")],
        tiles=_tiles(result),
        cautions=[*extras.cautions, *CAUTIONS],
        levels=levels_table(result),
        resamples=f"{options['resamples']:,}",
        threshold=float(options["threshold"]),
        rule=options["rule"],
        notes=_notes(result),
        meanings=[(metric.name, metric.meaning) for metric in METRICS.values()],
        pictures=extras.pictures,
        coverage=_coverage(result["coverage"]),
        coverage_line=_coverage_line(result["coverage"]),
        failed_as_half=half
        and metrics_table("Unscored at 0.5", {"all videos": half}, "videos", brief_keys()),
        breakdowns=breakdowns,
        calibration=calibration,
        robustness=extras.robustness
        and dict(zip(("table", "picture", "line"), extras.robustness, strict=True)),
        protocol=extras.protocol and dict(zip(("table", "line"), extras.protocol, strict=True)),
        worst=[_wrong(entry) for entry in extras.worst],
        worst_line="Farthest from their label, at most a few of each class. What is marked moved "
        "the score; it need "
        "not be what was manipulated.",
        provenance=[(name, list(pairs)) for name, pairs in extras.provenance],
    )


def _tiles(result: dict[str, object]) -> list[tuple[str, str, str]]:
    """The four things a reader wants first."""
    video = result["levels"]["video"]
    tiles = []
    for key in ("auc", "balanced_acc", "eer"):
        value = Measure(**video["metrics"][key])
        known = value.low is not None and value.high is not None
        below = f"{number(value.low)} to {number(value.high)}" if known else value.note
        tiles.append((number(value.value), f"video {METRICS[key].name}", below))
    share = result["coverage"]["share"]
    scored = (
        NONE
        if share is None
        else f"{100 * share:.0f} %"
        if share in (0, 1)
        else f"{100 * share:.1f} %"
    )
    return [*tiles, (scored, "of the videos scored", f"{video['real']} real, {video['fake']} fake")]


def _notes(result: dict[str, object]) -> list[str]:
    """What weakens a value, once per metric and level."""
    lines = [
        f"{level} {METRICS[key].name}: {value['note']}."
        for level, block in result["levels"].items()
        for key, value in block["metrics"].items()
        if value["note"] and value["value"] is not None
    ]
    video = result["levels"]["video"]["metrics"]["auc"]
    if video["value"] == 1.0:
        lines.append(
            "Perfect separation has an interval of width zero; that is a limit of the bootstrap, "
            "not certainty."
        )
    return lines


def _coverage(coverage: dict[str, object]) -> Table:
    names = {
        "scored": "scored",
        "failed": "refused by extraction",
        "missing": "in the manifest, not in the cache",
    }
    rows = [
        (text, *(coverage[key][part] for part in ("n", "real", "fake")))
        for key, text in names.items()
    ]
    return Table("Who was counted", ("videos", "all", "real", "fake"), tuple(rows))


def _coverage_line(coverage: dict[str, object]) -> str:
    reasons = ", ".join(f"{name} {count}" for name, count in coverage["reasons"].items())
    if not coverage["failed"]["known"]:
        return (
            "No list of outcomes lay beside the manifest, so nobody knows how many videos "
            "extraction refused."
        )
    return (
        f"Refused because: {reasons}." if reasons else "Extraction refused no video of this split."
    )


def _breakdowns(by: dict[str, dict[str, object]]) -> list[tuple[str, str, Table]]:
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


def _calibration(block: dict[str, object] | None) -> dict[str, object] | None:
    if block is None:
        return None
    unsure = block["unsure"]
    facts: list[tuple[str, Cell]] = [
        ("fitted on", block["source"]),
        ("temperature", block["temperature"]),
        ("threshold", block["threshold"]),
        ("unsure zone", f"{number(unsure['low'])} to {number(unsure['high'])}"),
        ("videos in the zone", _percent(unsure["share"])),
        ("wrong outside the zone", _percent(unsure["wrong_outside"])),
        ("wrong without a zone", _percent(unsure["wrong_everywhere"])),
        *([("note", block["note"])] if block["note"] else []),
    ]
    return {
        "line": "Temperature, threshold and unsure zone were fitted on validation videos and only applied here.",  # noqa: E501
        "table": metrics_table(
            "After calibration",
            {"video": block},
            "level",
            calibration_keys(),
        ),
        "facts": facts,
    }


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f} %"


def _wrong(entry: Wrong) -> dict[str, str]:
    truth = "fake" if entry.label else "real"
    method = "" if entry.method in ("", "real") else f" ({entry.method})"
    return {
        "title": entry.video_id,
        "uri": image_uri(entry.picture),
        "alt": f"{entry.what} of a {truth} video that scored {entry.score:.3f}",
        "caption": f"{truth}{method}, score {entry.score:.3f}",
    }

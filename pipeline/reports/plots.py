"""Curves and counts in, pictures out: SVG text for the report (light and dark), PNG files for the
evaluation folder.

Drawn on matplotlib's Figure without pyplot: no global state, no window, the same bytes for the same
numbers. Sizes are chosen so that the letters stay readable on a phone that shows the picture at 350
px.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from unmask.pipeline.scores.calibration import Reliability, reliability
from unmask.pipeline.scores.formulas import roc
from unmask.pipeline.scores.results import Result
from unmask.pipeline.scores.table import Scores

Floats = NDArray[np.float64]
Draw = Callable[[Axes, "Palette"], None]

# Rates at the ticks of a DET axis (and one minus them), and where a rate of zero is drawn.
DET_TICKS = (0.001, 0.01, 0.05, 0.2, 0.4)
DET_EDGE = 5e-4
# Letters of tick names that fit beside each other.
LETTERS = 34


@dataclass(frozen=True)
class Palette:
    """Colours of one theme. real and fake are told apart by blue-orange, also with red-green
    blindness.
    """

    ink: str
    faint: str
    paper: str
    real: str
    fake: str
    series: tuple[str, ...]


LIGHT = Palette(
    *("#1c2430", "#c9d0d9", "#ffffff", "#1f6fb4", "#d9660a"),
    series=("#1f6fb4", "#d9660a", "#2b8a57", "#8455b8", "#a8324e", "#6b7280", "#0f8b8d", "#b08900"),
)
DARK = Palette(
    *("#e6e9ee", "#465061", "#171c24", "#6cb2ee", "#f6a04d"),
    series=("#6cb2ee", "#f6a04d", "#6fd09b", "#bd9bea", "#ee8aa0", "#aab3c0", "#62d0d2", "#e3c44b"),
)
COLOUR = re.compile("#[0-9a-f]{6}")
DARKER = {
    **dict(zip(LIGHT.series, DARK.series, strict=True)),
    **{
        getattr(LIGHT, name): getattr(DARK, name)
        for name in ("ink", "faint", "paper", "real", "fake")
    },
}


@dataclass(frozen=True)
class Picture:
    """One drawn figure: two data URIs for the report's themes, and what it shows in words; `png`
    draws it again.
    """

    title: str
    alt: str
    light: str
    dark: str
    draw: Draw
    size: tuple[float, float]

    def png(self) -> bytes:
        """The light form as a PNG of 150 dots per inch."""
        return _render(self.draw, self.size, "png", dpi=150)


def picture(title: str, alt: str, draw: Draw, size: tuple[float, float] = (5.2, 4.0)) -> Picture:
    """Draw for light paper, and exchange the colours for the dark form. size: inches at 72 px."""
    light = _render(draw, size, "svg").decode()
    dark = COLOUR.sub(lambda found: DARKER.get(found[0], found[0]), light)
    return Picture(title, alt, _data_uri(light), _data_uri(dark), draw, size)


def _render(draw: Draw, size: tuple[float, float], kind: str, dpi: int = 72) -> bytes:
    palette = LIGHT
    style = {
        "font.size": 11,
        "axes.edgecolor": palette.faint,
        "axes.labelcolor": palette.ink,
        "text.color": palette.ink,
        "xtick.color": palette.ink,
        "ytick.color": palette.ink,
        "axes.facecolor": palette.paper,
        "figure.facecolor": palette.paper,
        "grid.color": palette.faint,
        "grid.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "legend.fontsize": 10,
        "svg.hashsalt": "unmask",
        "svg.fonttype": "path",
    }
    with rc_context(style):
        figure = Figure(figsize=size, layout="constrained", dpi=dpi)
        axes = figure.subplots()
        draw(axes, palette)
        out = io.BytesIO()
        figure.savefig(
            out, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None}
        )
    return out.getvalue()


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def image_uri(data: bytes) -> str:
    """A PNG or JPEG of our own making as a data URI."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


def roc_plot(
    label: NDArray, score: Floats, auc: float, interval: tuple[float | None, float | None]
) -> Picture:
    """ROC with the line of chance and the point of equal errors."""
    fpr, tpr, _ = roc(label, score)
    shown = f"AUC {auc:.3f}" + (
        f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval[0] is not None else ""
    )

    def draw(axes: Axes, palette: Palette) -> None:
        axes.plot(
            [0, 1],
            [0, 1],
            color=palette.ink,
            alpha=0.5,
            linestyle="--",
            linewidth=1,
            label="chance",
        )
        axes.plot(
            [0, 1],
            [1, 0],
            color=palette.ink,
            alpha=0.5,
            linestyle=":",
            linewidth=1,
            label="equal errors",
        )
        axes.plot(fpr, tpr, color=palette.real, linewidth=2.2, label=shown, clip_on=False)
        axes.fill_between(fpr, tpr, color=palette.real, alpha=0.12, linewidth=0)
        axes.set(
            xlabel="reals taken for fake (FPR)",
            ylabel="fakes found (TPR)",
            xlim=(0, 1),
            ylim=(0, 1),
        )
        axes.set_aspect("equal")
        axes.grid(True)
        axes.legend(loc="lower right")

    return picture("ROC", f"ROC curve, {shown}.", draw, (4.8, 4.6))


def det_plot(label: NDArray, score: Floats, eer: float) -> Picture:
    """Misses over false alarms on normal-deviate axes, where good detectors stop sticking to the
    corner.
    """
    fpr, tpr, _ = roc(label, score)
    x, y = (_probit(np.clip(rate, DET_EDGE, 1 - DET_EDGE)) for rate in (fpr, 1 - tpr))

    def draw(axes: Axes, palette: Palette) -> None:
        ticks = [*DET_TICKS, *(1 - rate for rate in reversed(DET_TICKS[:-1]))]
        place, name = _probit(np.array(ticks)), [f"{100 * rate:g}" for rate in ticks]
        axes.plot(place[[0, -1]], place[[0, -1]], color=palette.faint, linestyle=":", linewidth=1)
        axes.plot(x, y, color=palette.fake, linewidth=2.2, drawstyle="steps-post")
        axes.set_xticks(place, name)
        axes.set_yticks(place, name)
        edge = _probit(np.array([DET_EDGE, 1 - DET_EDGE]))
        axes.set(xlabel="reals taken for fake, %", ylabel="fakes missed, %", xlim=edge, ylim=edge)
        axes.set_aspect("equal")
        axes.grid(True)

    return picture(
        "DET",
        f"Detection error trade-off, equal error rate {100 * eer:.1f} percent.",
        draw,
        (4.8, 4.6),
    )


def _probit(rate: Floats) -> Floats:
    """Normal quantiles, one call per distinct rate."""
    normal = NormalDist()
    values, inverse = np.unique(rate, return_inverse=True)
    return np.array([normal.inv_cdf(value) for value in values])[inverse]


def histogram(label: NDArray, score: Floats, threshold: float) -> Picture:
    """How reals and fakes score, as shares of their class."""

    def draw(axes: Axes, palette: Palette) -> None:
        edges = np.linspace(0, 1, 26)
        for value, name, colour in ((0, "real", palette.real), (1, "fake", palette.fake)):
            held = score[label == value]
            if len(held):
                weight = np.full(len(held), 100 / len(held))
                axes.hist(
                    held,
                    edges,
                    weights=weight,
                    color=colour,
                    alpha=0.55,
                    label=f"{name} ({len(held)})",
                )
        axes.axvline(
            threshold,
            color=palette.ink,
            linewidth=1.2,
            linestyle="--",
            label=f"threshold {threshold:.2f}",
        )
        axes.set(xlabel="score (probability of fake)", ylabel="% of its class", xlim=(0, 1))
        axes.figure.legend(loc="outside upper center", ncols=3, columnspacing=1.0, handlelength=1.4)

    return picture("Scores", "Histogram of the scores of real and fake videos.", draw)


def reliability_plot(table: Reliability, ece: float) -> Picture:
    """Share of fakes over the score; on the diagonal a score means what it says."""

    def draw(axes: Axes, palette: Palette) -> None:
        held = table.count > 0
        axes.plot(
            [0, 1],
            [0, 1],
            color=palette.ink,
            alpha=0.5,
            linestyle="--",
            linewidth=1,
            label="honest scores",
        )
        size = 30 + 270 * table.count[held] / table.count.max()
        axes.plot(table.score[held], table.fakes[held], color=palette.real, linewidth=1.5)
        axes.scatter(
            table.score[held],
            table.fakes[held],
            s=size,
            color=palette.real,
            alpha=0.6,
            label="area: videos",
        )
        axes.set(
            xlabel="mean score in the bin",
            ylabel="share of fakes in the bin",
            xlim=(-0.03, 1.03),
            ylim=(-0.03, 1.03),
        )
        axes.set_aspect("equal")
        axes.grid(True)
        axes.legend(loc="upper left", title=f"ECE {ece:.3f}", alignment="left")

    return picture(
        "Reliability",
        f"Reliability diagram, expected calibration error {ece:.3f}.",
        draw,
        (4.8, 4.6),
    )


Bar = tuple[str, float, float | None, float | None]


def bars(title: str, rows: Sequence[Bar], axis: str = "AUC", chance: float | None = 0.5) -> Picture:
    """One horizontal bar with its interval per row (name, value, low, high), first row on top."""

    def draw(axes: Axes, palette: Palette) -> None:
        place = np.arange(len(rows))[::-1]
        axes.barh(place, [row[1] for row in rows], height=0.62, color=palette.real, alpha=0.75)
        for at, (_, value, low, high) in zip(place, rows, strict=True):
            if low is not None and high is not None:
                axes.plot(
                    [low, high], [at, at], color=palette.ink, linewidth=1.6, solid_capstyle="butt"
                )
            axes.text(
                0.012,
                at,
                f"{value:.3f}",
                va="center",
                ha="left",
                color=palette.paper,
                fontsize=10,
                weight="bold",
            )
        axes.set_yticks(place, [_short(row[0]) for row in rows])
        if chance is not None:
            axes.axvline(chance, color=palette.ink, linewidth=1, linestyle=":")
        axes.set(xlabel=axis, xlim=(0, 1))
        axes.tick_params(axis="y", length=0)

    text = ", ".join(f"{name} {value:.3f}" for name, value, _, _ in rows)
    return picture(title, f"{axis}: {text}.", draw, (5.2, 0.9 + 0.42 * max(2, len(rows))))


def scatter(
    title: str,
    place: NDArray,
    group: Sequence[str],
    label: NDArray,
    alt: str = "t-SNE map of the videos' features.",
) -> Picture:
    """Points (R, 2) coloured by group; reals as circles, fakes as crosses."""

    def draw(axes: Axes, palette: Palette) -> None:
        for number, name in enumerate(dict.fromkeys(group)):
            member = np.array([value == name for value in group])
            fake = bool(label[member].max())
            colour = palette.series[number % len(palette.series)]
            axes.scatter(
                *place[member].T,
                s=26,
                marker="x" if fake else "o",
                color=colour,
                alpha=0.75,
                label=_short(name),
            )
        axes.set(xticks=[], yticks=[])
        axes.figure.legend(
            loc="outside lower center", ncols=3, columnspacing=0.8, handletextpad=0.2
        )

    return picture(title, alt, draw, (5.2, 4.6))


def lines(
    title: str,
    series: Mapping[str, Sequence[float | None]],
    ticks: Sequence[str],
    axis: str,
    below: str,
    size: tuple[float, float] = (5.2, 4.6),
) -> Picture:
    """One line per name over common steps, each between 0 and 1; None leaves a gap."""

    def draw(axes: Axes, palette: Palette) -> None:
        for number, (name, values) in enumerate(series.items()):
            y = [np.nan if value is None else value for value in values]
            style = ("-", "--")[number // len(palette.series) % 2]
            colour = palette.series[number % len(palette.series)]
            axes.plot(
                range(len(y)),
                y,
                style,
                marker="o",
                markersize=4,
                linewidth=1.8,
                color=colour,
                label=_short(name),
            )
        axes.set_xticks(range(len(ticks)), ticks)
        if sum(map(len, ticks)) > LETTERS:
            axes.tick_params(axis="x", rotation=20)
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axes.set(xlabel=below, ylabel=axis, ylim=(-0.02, 1.02))
        axes.grid(True, axis="y")
        axes.figure.legend(loc="outside lower center", ncols=3, columnspacing=1.0, handlelength=1.6)

    return picture(title, f"{', '.join(series)} over {', '.join(ticks)}.", draw, size)


def pictures_of(result: Result, joined: Scores) -> list[Picture]:
    """ROC, DET, scores, reliability and bars per method, as far as the classes allow."""
    auc, eer = result.video.measure("auc"), result.video.measure("eer")
    drawn = []
    if auc.value is not None:
        drawn += [
            roc_plot(joined.label, joined.score, auc.value, (auc.low, auc.high)),
            det_plot(joined.label, joined.score, eer.value),
        ]
    if len(joined):
        drawn.append(histogram(joined.label, joined.score, result.options.threshold))
        error = result.video.measure("ece").value
        drawn.append(reliability_plot(reliability(joined.label, joined.score), error))
    by_method = {name: block.measure("auc") for name, block in result.by["method"].items()}
    rows = [(n, m.value, m.low, m.high) for n, m in by_method.items() if m.value is not None]
    if len(rows) > 1:
        drawn.append(bars("AUC by method", rows))
    return drawn


def _short(name: str, most: int = 22) -> str:
    """A name that fits beside a bar; `$` would start mathematics in matplotlib."""
    shown = "".join(
        c if c.isprintable() and not 0xD800 <= ord(c) <= 0xDFFF else "?" for c in name
    ).replace("$", r"\$")
    return shown if len(shown) <= most else shown[: most - 1] + "…"

"""The timeline under an annotated video: verdict, score of every person over time, legend; a cursor
moves over it.

Drawn once with matplotlib, for its letters; per frame only the cursor is added.
"""

from __future__ import annotations

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from unmask.pipeline.prediction.verdicts import Prediction
from unmask.pipeline.reports.plots import DARK
from unmask.pipeline.reports.printable import printable

# Blue, orange and grey are told apart with red-green blindness too; white letters stand on all of
# them.
COLOURS = {"real": (31, 111, 180), "fake": (201, 84, 0), "unsure": (96, 106, 120)}
PAPER, CURSOR = (23, 28, 36), (240, 240, 240)

SHARE, LEAST = 0.22, 132  # of the width, px
TRACKS = 4  # drawn with a line of their own


def _unit(colour: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(value / 255 for value in colour)


class Strip:
    """The drawn timeline, (height, width, 3) uint8 RGB. first: seconds of the video's first
    frame.
    """

    def __init__(self, prediction: Prediction, width: int, first: float) -> None:
        self.width = width
        self.height = max(LEAST, round(min(width * SHARE, 300)) // 2 * 2)
        self.first, self.last = first, first + max(prediction.duration, 1e-3)
        self.picture, self.area = self._draw(prediction)

    def at(self, time: float) -> NDArray[np.uint8]:
        """The strip with its cursor at a time."""
        left, right, top, bottom = self.area
        share = min(max((time - self.first) / (self.last - self.first), 0.0), 1.0)
        x = round(left + share * (right - left))
        strip = self.picture.copy()
        half = max(1, self.width // 1200)
        strip[top:bottom, max(0, x - half) : x + half] = CURSOR
        return strip

    def _draw(self, p: Prediction) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
        dpi = 72 * max(1.0, self.width / 900)
        style = {
            "font.size": 9,
            "text.color": DARK.ink,
            "axes.labelcolor": DARK.ink,
            "axes.edgecolor": DARK.faint,
            "xtick.color": DARK.ink,
            "ytick.color": DARK.ink,
        }
        with rc_context(style):
            figure = Figure(
                figsize=(self.width / dpi, self.height / dpi), dpi=dpi, facecolor=_unit(PAPER)
            )
            canvas = FigureCanvasAgg(figure)
            inch = 1 / figure.get_figheight()
            figure.subplots_adjust(
                left=0.5 / figure.get_figwidth(),
                right=1 - 0.15 / figure.get_figwidth(),
                bottom=0.28 * inch,
                top=1 - 0.5 * inch,
            )
            axes = figure.subplots()
            axes.set_facecolor(_unit(PAPER))
            self._scores(axes, p)
            self._words(figure, p, inch)
            canvas.draw()
            box = axes.get_window_extent()
        picture = np.asarray(canvas.buffer_rgba())[: self.height, : self.width, :3]
        whole = np.empty((self.height, self.width, 3), np.uint8)
        whole[:] = PAPER
        whole[: picture.shape[0], : picture.shape[1]] = picture
        area = (
            round(box.x0),
            round(box.x1),
            round(self.height - box.y1),
            round(self.height - box.y0),
        )
        return whole, area

    def _scores(self, axes: object, p: Prediction) -> None:
        member = p.members[0]
        low, high = member.calibration.unsure
        axes.axhspan(low, high, color=_unit(COLOURS["unsure"]), alpha=0.35, linewidth=0)
        axes.axhline(member.calibration.threshold, color=DARK.faint, linewidth=0.8, linestyle="--")
        for track in p.tracks[:TRACKS]:
            time = np.array([(q.start + q.end) / 2 for q in track.points[0]]) - self.first
            calibrated = member.calibration.of(np.array([q.score for q in track.points[0]]))
            order = np.argsort(time)
            colour = DARK.series[track.number % len(DARK.series)]
            axes.plot(
                time[order],
                calibrated[order],
                color=colour,
                linewidth=1.4,
                label=f"person {track.number + 1}",
            )
            dots = [_unit(COLOURS[p.say(float(s), (low, high))]) for s in calibrated[order]]
            if len(time) <= 200:
                axes.scatter(
                    time[order],
                    calibrated[order],
                    s=14,
                    c=dots,
                    edgecolors=colour,
                    linewidths=0.7,
                    zorder=3,
                )
        axes.set(xlim=(0, self.last - self.first), ylim=(-0.05, 1.05), yticks=(0, 0.5, 1))
        axes.tick_params(labelsize=8, length=2)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)

    def _words(self, figure: Figure, p: Prediction, inch: float) -> None:
        """Verdict and what it means at the left, colours of boxes and lines at the right."""
        wide = figure.get_figwidth()
        colour = _unit(COLOURS.get(p.verdict, COLOURS["unsure"]))
        figure.text(
            0.15 / wide,
            1 - 0.1 * inch,
            f" {p.verdict.upper()} " if p.withheld else f" {p.verdict.upper()}  {p.score:.2f} ",
            va="top",
            weight="bold",
            fontsize=12,
            color="white",
            bbox={"facecolor": colour, "edgecolor": "none", "boxstyle": "round,pad=0.2"},
        )
        figure.text(
            1.75 / wide,
            1 - 0.12 * inch,
            _shortened(p.path.name, 42),
            va="top",
            fontsize=9,
            parse_math=False,
        )
        figure.text(
            1.75 / wide,
            1 - 0.3 * inch,
            "score over seconds; no proof",
            va="top",
            fontsize=8,
            alpha=0.75,
        )
        boxes = [
            Patch(color=_unit(COLOURS[name]), label=name) for name in ("real", "unsure", "fake")
        ]
        lines = figure.axes[0].get_legend_handles_labels()[0] if len(p.tracks) > 1 else []
        figure.legend(
            handles=[*boxes, *lines],
            loc="upper right",
            ncols=len(boxes) + len(lines),
            frameon=False,
            fontsize=8,
            handlelength=1.1,
            columnspacing=0.9,
            borderaxespad=0.3,
        )


def _shortened(name: str, most: int) -> str:
    shown = printable(name)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"

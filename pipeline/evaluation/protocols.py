"""What the papers report and how: each protocol's training and test sets, and the published value
of every cell.

Tags say where a number comes from: T read in a published table or abstract, R recalled from the
paper, not re-read. Tolerance is how far an honest re-implementation may be off before something is
wrong, in the metric's own unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unmask.pipeline.errors import UsageError
from unmask.pipeline.reports.tables import Table
from unmask.pipeline.scores.metrics import METRICS, Measure
from unmask.pipeline.scores.results import Result


@dataclass(frozen=True)
class Published:
    """One published cell.

    metric: key of METRICS.
    level: frame, clip or video.
    dataset, compression, method: "" for all of them.
    """

    metric: str
    level: str
    value: float
    tolerance: float
    tag: str
    dataset: str = "ffpp"
    compression: str = ""
    method: str = ""

    @property
    def name(self) -> str:
        where = " ".join(part for part in (self.dataset, self.compression, self.method) if part)
        return f"{where}: {self.level} {METRICS[self.metric].name}"


@dataclass(frozen=True)
class Protocol:
    """How to repeat a paper's main table.

    train, evaluate: commands' worth of words.
    note: what to know first.
    """

    name: str
    model: str
    train: str
    evaluate: str
    source: str
    note: str
    cells: tuple[Published, ...]


def _per_method(
    metric: str, level: str, tag: str, tolerance: float, values: dict[str, float], **more: str
) -> tuple[Published, ...]:
    return tuple(
        Published(metric, level, value, tolerance, tag, method=name, **more)
        for name, value in values.items()
    )


CLRNET = Protocol(
    "clrnet-paper",
    "clrnet",
    "one method's fakes and the originals at a time, about 750 videos per class, 16 clips of 5 "
    "frames at 240 px",
    "the same method's test videos, about 125 per class, every clip on its own",
    "Tariq, Lee, Woo 2020 (arXiv 2009.07480), table of same-method F1",
    "Not the official split; compression not stated. Trained on one method, others stay near "
    "chance.",
    (
        *_per_method(
            "f1",
            "clip",
            "T",
            0.02,
            {"Deepfakes": 0.992, "FaceSwap": 0.995, "Face2Face": 0.992, "NeuralTextures": 0.995},
        ),
        Published("f1", "clip", 0.960, 0.03, "T", dataset="dfd"),
        Published("f1", "clip", 0.9676, 0.03, "T", dataset="dfdc"),
    ),
)

STIL = Protocol(
    "stil-paper",
    "stil",
    "one method's fakes and the originals at a time, official FF++ split 720/140/140, 8 sparse "
    "frames at 224 px",
    "the same method's 140 fakes and the 140 originals, mean of the logits, threshold 0.5",
    "Gu et al. 2021 (arXiv 2109.01860), accuracy per method",
    "Each value is a multiple of 1/280: one video is 0.36 points. --video-rule mean-logit joins "
    "as the paper does.",
    (
        *_per_method(
            "acc",
            "video",
            "R",
            0.015,
            {"Deepfakes": 0.9964, "Face2Face": 0.9929, "FaceSwap": 1.0, "NeuralTextures": 0.9536},
            compression="c23",
        ),
        *_per_method(
            "acc",
            "video",
            "R",
            0.015,
            {
                "Deepfakes": 0.9821,
                "Face2Face": 0.9214,
                "FaceSwap": 0.9714,
                "NeuralTextures": 0.9178,
            },
            compression="c40",
        ),
        Published("acc", "video", 0.9978, 0.015, "R", dataset="celebdf2"),
        Published("acc", "video", 0.898, 0.03, "R", dataset="dfdc"),
        Published("acc", "video", 0.8412, 0.03, "R", dataset="wilddeepfake"),
    ),
)

M2TR = Protocol(
    "m2tr-paper",
    "m2tr",
    "all four FF++ methods together, official split, single frames, faces at 1.3 x",
    "test videos of the same compression, every frame on its own",
    "Wang et al. 2022 (arXiv 2104.09770) and the authors' released table",
    "With the released weights others measured 0.919 (c23) and 0.583 (c40): read the result "
    "relative to an "
    "EfficientNet-b4 baseline of the same protocol.",
    (
        Published("acc", "frame", 0.9950, 0.02, "T", compression="raw"),
        Published("acc", "frame", 0.9793, 0.07, "T", compression="c23"),
        Published("acc", "frame", 0.9289, 0.10, "T", compression="c40"),
        Published("auc", "frame", 0.9992, 0.02, "R", compression="raw"),
        Published("auc", "frame", 0.9951, 0.04, "R", compression="c23"),
        Published("auc", "frame", 0.9531, 0.08, "R", compression="c40"),
        Published("acc", "frame", 0.9976, 0.02, "T", dataset="celebdf2"),
    ),
)

_BENCH = {
    "ffpp": 0.964,
    "celebdf1": 0.779,
    "celebdf2": 0.737,
    "deeperforensics": 0.834,
    "dfd": 0.816,
    "dfdc": 0.708,
    "dfdcp": 0.737,
    "uadfv": 0.938,
}

DEEPFAKEBENCH = Protocol(
    "deepfakebench",
    "any model of one frame",
    "all four FF++ methods at c23, official split, 32 frames per video, single frames",
    "32 frames per video of each dataset, every frame on its own",
    "DeepfakeBench read-me (2023 to 2025), frame AUC of Xception trained on FF++ c23",
    "Preprocessings differ by 3 to 7 points. Its own video AUC groups by folder name only and is "
    "not comparable.",
    (
        *(
            Published(
                "auc",
                "frame",
                value,
                0.05,
                "T",
                dataset=name,
                compression="c23" if name == "ffpp" else "",
            )
            for name, value in _BENCH.items()
        ),
        Published("auc", "frame", 0.826, 0.05, "T", compression="c40"),
        *_per_method(
            "auc",
            "frame",
            "T",
            0.05,
            {
                "Deepfakes": 0.980,
                "Face2Face": 0.979,
                "FaceSwap": 0.983,
                "NeuralTextures": 0.939,
                "FaceShifter": 0.625,
            },
            compression="c23",
        ),
    ),
)

PROTOCOLS = {protocol.name: protocol for protocol in (CLRNET, STIL, M2TR, DEEPFAKEBENCH)}


def find_protocol(name: str) -> Protocol:
    """A protocol by name. Raises UsageError listing the names."""
    if name not in PROTOCOLS:
        raise UsageError(f"no protocol '{name}'; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def beside(protocol: Protocol, results: Sequence[Result]) -> Table:
    """The published cells beside what was measured: value with interval, and whether it is within
    the tolerance.

    results: evaluations of one model; a cell is measured where all videos are of its dataset and
    compression.
    """
    rows = []
    for cell in protocol.cells:
        measured = next(
            (m for result in results if (m := _measured(cell, result)) is not None), None
        )
        if measured is None:
            verdict = "not evaluated"
        elif measured.value is None:
            verdict = f"undefined: {measured.note}"
        else:
            off = measured.value - cell.value
            verdict = (
                "within"
                if abs(off) <= cell.tolerance
                else f"{'above' if off > 0 else 'below'} by {abs(off):.3f}"
            )
        rows.append(
            (
                cell.name,
                cell.value,
                f"± {cell.tolerance:g}",
                f"[{cell.tag}]",
                measured or Measure(None),
                verdict,
            )
        )
    return Table(
        protocol.name,
        ("what", "published", "tolerance", "source", "measured", "verdict"),
        tuple(rows),
    )


def _measured(cell: Published, result: Result) -> Measure | None:
    if result.datasets != (cell.dataset,):
        return None
    if cell.compression and result.compressions != (cell.compression,):
        return None
    if not cell.method:
        block = result.levels.get(cell.level)
    elif cell.level == "video":
        block = result.by["method"].get(cell.method)
    else:
        block = result.rows_by["method"].get(cell.method) if cell.level in result.levels else None
    return None if block is None else block.measure(cell.metric)

"""Published numbers meet the measured ones of the same dataset, compression, method, level and
metric, or none.
"""

from __future__ import annotations

import numpy as np
import pytest

from unmask.models import list_models
from unmask.pipeline.config import PROTOCOL_NAMES
from unmask.pipeline.errors import UsageError
from unmask.pipeline.evaluation.protocols import PROTOCOLS, beside, find_protocol
from unmask.pipeline.scores.evaluate_scores import evaluate_scores
from unmask.pipeline.scores.metrics import METRICS
from unmask.pipeline.scores.results import Options, Result
from unmask.pipeline.scores.table import scores_table


def result(
    dataset: str, compression: str, right: float, seed: int = 0, frame: bool = False
) -> Result:
    """100 reals and 100 fakes of two methods, two clips each, a share `right` of them scored on
    the right side.
    """
    rng = np.random.default_rng(seed)
    label = np.repeat([0, 1, 1], 100)
    method = np.repeat(["real", "Deepfakes", "NeuralTextures"], 100)
    good = np.concatenate([rng.permutation(100) < round(100 * right) for _ in range(3)])
    score = np.where(good == (label == 1), 0.9, 0.1)
    ids = [f"v{i}" for i in range(300)]
    spread = {"video_id": ids, "label": label, "method": method, "score": score}
    numbers = {"frame" if frame else "clip": np.tile([0, 1], 300)}
    rows = scores_table(
        **{k: np.repeat(v, 2) for k, v in spread.items()},
        dataset=[dataset] * 600,
        compression=[compression] * 600,
        **numbers,
    )
    return evaluate_scores(rows, Options(resamples=10))


def row(name: str, table_rows) -> tuple:
    return next(r for r in table_rows if r[0] == name)


def test_a_cell_within_its_tolerance() -> None:
    found = beside(find_protocol("stil-paper"), [result("ffpp", "c23", 0.99)])
    cell = row("ffpp c23 Deepfakes: video ACC", found.rows)
    assert cell[1] == 0.9964 and cell[3] == "[R]"
    assert cell[4].value == pytest.approx(0.99)
    assert cell[5] == "within"


def test_a_cell_outside_says_how_far() -> None:
    found = beside(find_protocol("stil-paper"), [result("ffpp", "c23", 0.90)])
    assert row("ffpp c23 Deepfakes: video ACC", found.rows)[5] == "below by 0.096"


def test_other_compressions_methods_and_levels_are_not_mixed_up() -> None:
    rows = beside(find_protocol("stil-paper"), [result("ffpp", "c23", 0.99)]).rows
    for name in (
        "ffpp c40 Deepfakes: video ACC",
        "ffpp c23 FaceSwap: video ACC",
        "dfdc: video ACC",
    ):
        assert row(name, rows)[4].value is None and row(name, rows)[5] == "not evaluated"
    both = beside(
        find_protocol("stil-paper"), [result("ffpp", "c23", 0.99), result("ffpp", "c40", 0.95)]
    ).rows
    assert row("ffpp c40 NeuralTextures: video ACC", both)[4].value == pytest.approx(0.95)
    clips = beside(find_protocol("m2tr-paper"), [result("ffpp", "c23", 0.99)]).rows
    assert row("ffpp c23: frame ACC", clips)[5] == "not evaluated"
    frames = beside(find_protocol("m2tr-paper"), [result("ffpp", "c23", 0.99, frame=True)]).rows
    assert row("ffpp c23: frame ACC", frames)[4].value == pytest.approx(0.99)


def test_clip_level_cells_per_method_are_measured_on_clips() -> None:
    rows = beside(find_protocol("clrnet-paper"), [result("ffpp", "c23", 0.99)]).rows
    assert row("ffpp Deepfakes: clip F1", rows)[4].value == pytest.approx(0.99)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda p: p.name)
def test_every_protocol_is_complete(protocol) -> None:
    assert protocol.train and protocol.evaluate and protocol.source and protocol.note
    for cell in protocol.cells:
        assert cell.metric in METRICS and cell.level in ("frame", "clip", "video")
        assert 0 < cell.value <= 1 and 0 < cell.tolerance <= 0.1 and cell.tag in "TR"
    assert len({cell.name for cell in protocol.cells}) == len(protocol.cells)


def test_protocols_name_models_and_datasets_that_exist() -> None:
    from unmask.pipeline.sources.registry import SOURCES

    names = {cell.dataset for protocol in PROTOCOLS.values() for cell in protocol.cells}
    assert names <= set(SOURCES)
    assert {"clrnet", "stil"} <= {p.model for p in PROTOCOLS.values()} & set(list_models())


def test_an_unknown_protocol_lists_the_known() -> None:
    with pytest.raises(UsageError, match="clrnet-paper"):
        find_protocol("best-paper")


def test_the_command_line_names_every_protocol() -> None:
    assert tuple(PROTOCOLS) == PROTOCOL_NAMES

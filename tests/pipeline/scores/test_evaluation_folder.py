"""metrics.json is what it always was, comes back equal, and a damaged one is one clear refusal."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from unmask.pipeline.errors import ScoresError
from unmask.pipeline.scores.calibration import Calibration
from unmask.pipeline.scores.evaluate_scores import evaluate_scores
from unmask.pipeline.scores.evaluation_folder import Evaluation, read_evaluation, write_metrics
from unmask.pipeline.scores.results import Coverage, Options
from unmask.pipeline.scores.table import scores_table


@pytest.fixture
def written(tmp_path: Path) -> Evaluation:
    """An evaluation with every part that one can have, on disk."""
    label = np.tile([0, 1, 1], 4)
    rows = scores_table(
        video_id=[f"v{number}" for number in np.repeat(np.arange(12), 2)],
        label=np.repeat(label, 2),
        score=np.random.default_rng(0).uniform(0, 1, 24),
        method=np.repeat(np.tile(["real", "Deepfakes", "FaceSwap"], 4), 2),
        dataset=["ffpp"] * 24,
        compression=["c23"] * 24,
        clip=np.tile([0, 1], 12),
    )
    calibration = Calibration(1.5, 0.4, (0.3, 0.6), source="val", videos=20, note="few videos")
    coverage = Coverage((2, 1), (0, 3), {"no_face": 3}, True)
    evaluation = Evaluation(
        "ffpp-c23-test",
        tmp_path,
        evaluate_scores(rows, Options(resamples=20), coverage, calibration),
        ("a caution",),
        {"Run": {"model": "clrnet", "step": 7, "rate": 0.5, "half": False, "note": None}},
        (("block-wise", 0.9, 0.8, None),),
    )
    write_metrics(tmp_path, evaluation)
    return evaluation


def test_an_evaluation_comes_back_equal(written: Evaluation) -> None:
    assert read_evaluation(written.folder) == written


def test_an_evaluation_of_before_absent_videos_were_counted_is_read(written: Evaluation) -> None:
    path = written.folder / "metrics.json"
    raw = json.loads(path.read_text())
    del raw["coverage"]["absent"]
    path.write_text(json.dumps(raw))
    assert read_evaluation(written.folder) == written


def test_metrics_json_has_the_fields_that_it_always_had(written: Evaluation) -> None:
    raw = json.loads((written.folder / "metrics.json").read_text())
    assert list(raw) == [
        *("name", "cautions", "format", "options", "levels", "sets", "by", "rows_by"),
        *(
            "confusion",
            "coverage",
            "failed_as_half",
            "calibrated",
            "honesty",
            "provenance",
            "robustness",
        ),
    ]
    assert raw["options"] == {
        **{"rule": "mean", "tracks": "max", "threshold": 0.5, "resamples": 20, "seed": 0},
        "interval": 0.95,
    }
    assert raw["sets"] == {"dataset": ["ffpp"], "compression": ["c23"]}
    assert raw["coverage"] == {
        "scored": {"n": 12, "real": 4, "fake": 8},
        "failed": {"n": 3, "real": 2, "fake": 1, "known": True},
        "missing": {"n": 3, "real": 0, "fake": 3},
        "absent": {"n": 0, "real": 0, "fake": 0},
        "reasons": {"no_face": 3},
        "share": 12 / 18,
    }
    block = raw["levels"]["video"]
    assert list(block) == ["n", "real", "fake", "videos", "metrics"]
    assert list(block["metrics"]["auc"]) == ["value", "low", "high", "note"]
    assert list(raw["calibrated"]) == [
        *("n", "real", "fake", "videos", "metrics", "threshold", "temperature", "unsure"),
        *("confusion", "source", "note"),
    ]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("levels", "video", "metrics", "auc", "value"), 1.5, "auc: value should be a number"),
        (("levels", "video", "metrics", "auc", "value"), "high", "is 'high'"),
        (("levels", "video", "n"), -1, "video: n should be a whole number"),
        (("levels", "video", "n"), 7, "do not add up"),
        (("coverage", "failed", "known"), 1, "known should be true or false"),
        (("options", "threshold"), None, "options: threshold"),
        (("by", "method"), [], "by: method: expected an object"),
        (("sets", "dataset"), [1], "dataset should be a list of texts"),
        (("robustness",), [[1, 2]], "robustness should be rows"),
        (("provenance", "Run", "step"), [7], "Run: step should be a text or a number"),
        (("format",), 99, "format"),
    ],
)
def test_a_wrong_field_is_refused_by_file_and_name(
    written: Evaluation, place: tuple[str, ...], value: object, message: str
) -> None:
    path = written.folder / "metrics.json"
    raw = json.loads(path.read_text())
    inner = raw
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    path.write_text(json.dumps(raw))
    with pytest.raises(ScoresError, match=message) as caught:
        read_evaluation(written.folder)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"[]", b"{", b"[" * 200_000, b'{"name": ' * 9_000, b"9" * 5_000],
    ids=["empty", "not text", "list", "cut", "deep list", "deep object", "long number"],
)
def test_a_file_that_is_no_object_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "metrics.json").write_bytes(data)
    with pytest.raises(ScoresError, match=r"metrics\.json"):
        read_evaluation(tmp_path)


def test_an_absent_file_and_a_fifo_are_refused_by_name(tmp_path: Path) -> None:
    import os

    with pytest.raises(ScoresError, match=r"metrics\.json: not there"):
        read_evaluation(tmp_path)
    os.mkfifo(tmp_path / "metrics.json")
    with pytest.raises(ScoresError, match=r"metrics\.json"):
        read_evaluation(tmp_path)


def places(raw: object) -> Iterator[tuple[dict | list, object]]:
    """Every container with each of its keys."""
    if isinstance(raw, dict | list):
        for key in raw if isinstance(raw, dict) else range(len(raw)):
            yield raw, key
            yield from places(raw[key])


def test_a_field_that_is_gone_or_of_another_kind_is_never_a_crash(written: Evaluation) -> None:
    path = written.folder / "metrics.json"
    good = path.read_text()
    dice = random.Random(1)
    odd = (None, True, -1, 2**70, 1e308, float("nan"), "x" * 200_001, [], {}, [[[]]], {"n": {}})
    refused = 0
    for _ in range(400):
        raw = json.loads(good)
        for _ in range(dice.choice((1, 1, 3))):
            holder, key = dice.choice(list(places(raw)))
            if dice.random() < 0.4:
                del holder[key]
            else:
                holder[key] = dice.choice(odd)
        path.write_text(json.dumps(raw))
        try:
            read_evaluation(written.folder).as_json()
        except ScoresError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 240


def test_an_evaluation_from_before_promises_and_honesty_is_read(written: Evaluation) -> None:
    path = written.folder / "metrics.json"
    raw = json.loads(path.read_text())
    del raw["honesty"]
    for name in ("real_called_fake", "fake_called_real", "promise"):
        del raw["calibrated"]["unsure"][name]
    path.write_text(json.dumps(raw))
    result = read_evaluation(written.folder).result
    assert result.honesty is None and result.calibrated.unsure.real_called_fake is None
    assert result.calibrated.unsure.promise == "" and result.video == written.result.video

"""What a run says of its training survives the disk, is bounded, and is unknown when damaged."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from unmask.pipeline.runs.knowledge import Knowledge, Spread, knowledge_from

KNOWN = Knowledge(
    *(True, False, 720, 2880, 720, ("ffpp",), ("c23",), ("Deepfakes", "real")),
    looks={"noise": Spread(0.5, 0.7, 1.1)},
)


def test_it_survives_json_exactly() -> None:
    assert knowledge_from(json.loads(json.dumps(KNOWN.as_json())), "run.json") == KNOWN


@pytest.mark.parametrize("chosen", [False, True])
def test_a_run_on_real_footage_only_says_so_wherever_it_is_copied(chosen: bool) -> None:
    own = replace(KNOWN, fake=0, real_only=True, chosen_on_fakes=chosen)
    assert knowledge_from(json.loads(json.dumps(own.as_json())), "run.json") == own
    assert own.cautions[0] == (
        "Trained on real footage only; finds composited faces, not wholly generated ones."
    )
    assert len(own.cautions) == 1 + chosen and own.footage["footage"].startswith("Trained on real")
    assert KNOWN.cautions == () and KNOWN.footage == {}


def test_absent_is_unknown() -> None:
    assert not knowledge_from(None, "run.json").known


def test_it_stays_small_however_many_words_a_dataset_has() -> None:
    many = Knowledge(True, methods=tuple(f"{'long' * 100}{n}" for n in range(5000)))
    assert len(json.dumps(many.as_json())) < 10_000
    assert knowledge_from(many.as_json(), "run.json").known


@pytest.mark.parametrize(
    "change",
    [
        {"drawn": "no"},
        {"fakes": "none"},
        {"fakes": "self", "val_fakes": 1},
        {"real": -1},
        {"fake": True},
        {"people": 1.5},
        {"datasets": "ffpp"},
        {"methods": [1]},
        {"compressions": ["x"] * 51},
        {"looks": []},
        {"looks": {"noise": [1, 2]}},
        {"looks": {"noise": [3, 2, 1]}},
        {"looks": {"noise": [float("nan")] * 3}},
        {"looks": {"noise": [0, 0, 10**400]}},
        {"looks": {"n" * 81: [1, 2, 3]}},
    ],
)
def test_a_damaged_record_is_worth_as_little_as_none(change: dict) -> None:
    assert not knowledge_from({**KNOWN.as_json(), **change}, "run.json").known


@pytest.mark.parametrize("values", [[], "x", 3, {}, {"looks": {}}])
def test_what_is_no_such_record_is_unknown(values: object) -> None:
    assert not knowledge_from(values, "run.json").known


def test_fences_are_tukeys_and_never_narrower_than_what_is_noticed() -> None:
    assert Spread(10.0, 12.0, 14.0).fences(1.0) == (-2.0, 26.0)
    assert Spread(10.0, 10.0, 10.0).fences(1.0) == (7.0, 13.0)

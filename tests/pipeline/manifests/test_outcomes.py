"""Outcomes: remembered as long as they are true, listed with what evaluation must know, summed up
in one line.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unmask.pipeline.cache.refused import recall, remember
from unmask.pipeline.errors import ManifestError
from unmask.pipeline.manifests.outcomes import (
    Listed,
    duration,
    read_outcomes,
    summary,
    write_outcomes,
)
from unmask.pipeline.records import Outcome

FILE = {"size": 10, "mtime_ns": 5}
NO_FACE = Outcome("a", "skipped", "no_face", "16 anchors", flags=("vfr",))


def test_a_lasting_reason_is_recalled_until_the_file_changes(tmp_path: Path) -> None:
    remember(tmp_path, NO_FACE, FILE)
    assert recall(tmp_path, "a", FILE) == NO_FACE
    assert recall(tmp_path, "a", {"size": 11, "mtime_ns": 5}) is None
    assert recall(tmp_path, "b", FILE) is None
    remember(tmp_path, Outcome("a", "ok"), FILE)
    assert recall(tmp_path, "a", FILE) is None


def test_a_passing_reason_is_tried_again_but_still_listed(tmp_path: Path) -> None:
    late = Outcome("a", "failed", "timeout", "600 s")
    remember(tmp_path, late, FILE)
    assert recall(tmp_path, "a", FILE) is None
    assert recall(tmp_path, "a") == late


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"outcome": 3}', '{"outcome": {"video_id": "a"}, "fingerprint": {}}']
)
def test_a_half_written_record_means_trying_again(tmp_path: Path, text: str) -> None:
    remember(tmp_path, NO_FACE, FILE)
    (tmp_path / ".outcomes" / "a.json").write_text(text)
    assert recall(tmp_path, "a", FILE) is None


def test_the_list_is_sorted_complete_and_free_of_times(tmp_path: Path) -> None:
    rows = [
        Listed(Outcome("b", "ok", clips=16, seconds=3.0), 1, "Deepfakes", "test"),
        Listed(NO_FACE, 0, "real", "val"),
    ]
    path = tmp_path / "outcomes.jsonl"
    write_outcomes(path, rows)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["video_id"] for line in lines] == ["a", "b"]
    assert "seconds" not in lines[0] and lines[0]["split"] == "val"
    assert read_outcomes(path) == [rows[1], rows[0]]
    assert read_outcomes(tmp_path / "absent.jsonl") == []


def test_a_foreign_line_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    write_outcomes(path, [Listed(NO_FACE, 0, "real", "val")])
    path.write_text(path.read_text() + "not json\n")
    with pytest.raises(ManifestError, match=r"outcomes\.jsonl:2"):
        read_outcomes(path)


def test_the_summary_counts_every_reason() -> None:
    many = [Outcome(str(k), "ok") for k in range(4980)]
    many += [Outcome(f"n{k}", "skipped", "no_face") for k in range(9)]
    many += [Outcome(f"s{k}", "skipped", "too_short") for k in range(3)]
    many += [Outcome(f"t{k}", "failed", "truncated") for k in range(8)]
    expected = (
        "extract ffpp: 4,980 ok, 12 skipped (no_face 9, too_short 3), 8 failed (truncated "
        "8), 31 min"
    )
    assert summary("ffpp", many, 31 * 60) == expected


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.24, "8.2 s"), (120, "2 min"), (4 * 3600 + 300, "4 h 05 min")]
)
def test_durations_read_as_a_person_says_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text

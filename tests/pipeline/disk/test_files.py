"""One small file: whole or absent, and read in bounds, so that what is damaged, forged or no file
at all is one refusal that names it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from unmask.pipeline.disk.files import MAX_DEPTH, json_lines, read_json, replacing, write_whole
from unmask.pipeline.errors import CheckpointError


def nested(depth: int) -> str:
    return '{"a": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not JSON"),
        ("[1]", "list where a JSON object belongs"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1e999}', "not a finite number"),
        ('{"a": 9223372036854775808}', "64 bits"),
        ('{"a": ' + "9" * 400 + "}", "64 bits"),
        (nested(MAX_DEPTH + 2), "deep"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "damaged"),
        ('{"a": "' + "x" * 1000 + '"}', "larger than 600 bytes"),
    ],
)
def test_what_unmask_never_writes_is_refused_by_name(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    most = 10**6 if len(text) > 2000 else 600
    with pytest.raises(CheckpointError, match=what) as refused:
        read_json(path, most, CheckpointError)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_bytes_of_no_encoding_a_fifo_a_folder_and_nothing_at_all_are_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "bytes.json").write_bytes(b'{"a": "\xff\xfe"}')
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "folder.json").mkdir()
    for name in ("bytes.json", "fifo.json", "folder.json", "absent.json"):
        with pytest.raises(CheckpointError, match=name):
            read_json(tmp_path / name, 1000, CheckpointError)


def test_what_is_in_bounds_comes_back_as_json_reads_it(tmp_path: Path) -> None:
    text = nested(MAX_DEPTH)
    for document in (text, '{"a": 9223372036854775807, "b": [-1.5e300, null, true, "\\ud800"]}'):
        (tmp_path / "x.json").write_text(document)
        assert read_json(tmp_path / "x.json", 1000, CheckpointError) == json.loads(document)


def test_lines_name_their_number_and_only_a_growing_file_may_end_in_half_a_line(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.jsonl"
    assert list(json_lines(path, 100, CheckpointError)) == []
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [line for _, line in json_lines(path, 100, CheckpointError, growing=True)] == [
        {"step": 1},
        {"step": 2},
    ]
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl:3"):
        list(json_lines(path, 100, CheckpointError))
    path.write_text('{"step": 1}\nhello\n{"step": 3}\n')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl:2"):
        list(json_lines(path, 100, CheckpointError, growing=True))
    path.write_text('{"step": 1, "x": "' + "y" * 200 + '"}\n')
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl:1: longer"):
        list(json_lines(path, 100, CheckpointError, growing=True))


def test_a_stop_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


def test_a_link_under_the_name_is_replaced_and_what_it_points_to_is_not(tmp_path: Path) -> None:
    outside, path = tmp_path / "outside", tmp_path / "run.json"
    outside.write_text("kept")
    path.symlink_to(outside)
    write_whole(path, b"new")
    assert not path.is_symlink() and path.read_bytes() == b"new"
    assert outside.read_text() == "kept"

"""One scheme of temporary names and one cleaner, which takes what is dead, ours and no link."""

from __future__ import annotations

import os
from pathlib import Path

from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.disk.temporaries import TEMPORARY, flock_alone, temporary_name


def test_the_next_writer_removes_what_a_killed_one_left_and_never_what_a_living_one_holds(
    tmp_path: Path,
) -> None:
    path = tmp_path / "scores.csv"
    dead, alive = temporary_name(path), temporary_name(path)
    other = temporary_name(tmp_path / "run.json")
    older_version = tmp_path / ".tmp-scores.csv-4194305-0123abcd"
    for name in (dead, alive, other, older_version):
        name.touch()
    outside = tmp_path / "outside"
    outside.write_text("kept")
    link, pipe = temporary_name(path), temporary_name(path)
    link.symlink_to(outside)
    os.mkfifo(pipe)
    descriptor = os.open(alive, os.O_WRONLY)
    try:
        assert flock_alone(descriptor)
        write_whole(path, b"1")
    finally:
        os.close(descriptor)
    assert sorted(tmp_path.iterdir()) == sorted([path, alive, other, outside, link, pipe])
    assert outside.read_text() == "kept"


def test_no_two_names_are_alike_and_none_can_be_guessed(tmp_path: Path) -> None:
    names = {temporary_name(tmp_path / "x").name for _ in range(1000)}
    assert len(names) == 1000 and all(len(name.rsplit("-", 1)[1]) == 16 for name in names)


def test_the_longest_name_of_any_script_still_has_a_temporary_one(tmp_path: Path) -> None:
    for name in ("a" * 255, "\u4e16" * 85, "\U0001f600" * 63, "\udcff" * 200, "a\nb"):
        path = tmp_path / name
        write_whole(path, b"1")
        temporary = temporary_name(path)
        assert TEMPORARY.fullmatch(temporary.name) and len(os.fsencode(temporary.name)) < 200
        temporary.touch()
        write_whole(path, b"2")
        assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"2"]
        path.unlink()

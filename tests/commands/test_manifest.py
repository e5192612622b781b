"""manifest on the command line: check, stats, merge, filter, import, and their exit codes."""

from __future__ import annotations

import pytest

from tests.support.cached_folders import KEY, plant_pictures, plant_video, write
from unmask.commands.main import main
from unmask.pipeline.records import Entry


@pytest.fixture
def place(tmp_path):
    """A cache with two reals and four fakes, a train and a test manifest that share nothing."""
    cache = tmp_path / "cache"
    train = [
        plant_video(cache, "r1", 0),
        plant_video(cache, "f1", 1),
        plant_video(cache, "f2", 1, method="FaceSwap"),
    ]
    test = [plant_video(cache, "r2", 0), plant_video(cache, "f3", 1), plant_video(cache, "f4", 1)]
    write(tmp_path / "train.txt", *train)
    write(tmp_path / "test.txt", *test)
    return tmp_path


def run(place, command, *arguments):
    paths = [str(place / a) if a.endswith(".txt") else a for a in arguments]
    return main(["manifest", command, *paths, "--cache", str(place / "cache")])


def test_check_of_good_manifests(place, capsys):
    assert run(place, "check", "train.txt", "test.txt") == 0
    assert f"3 videos, 1 real, 2 fake, key {KEY}" in capsys.readouterr().out


def test_check_finds_shared_videos_and_groups(place, capsys):
    both = [Entry(f"ffpp/{KEY}/r1", 0), plant_video(place / "cache", "f9", 1, group="f1")]
    write(place / "other.txt", *both)
    assert run(place, "check", "train.txt", "other.txt") == 4
    text = capsys.readouterr().out
    assert (
        f"1 videos in both, e.g. ffpp/{KEY}/r1" in text
        and "2 leakage groups in both, e.g. ffpp/f1" in text
    )


def test_check_finds_equal_files_under_two_names(place, capsys):
    copy = {"file": {"sha256": "ab" * 32}}
    a = plant_video(place / "cache", "r1_1", 0, key=KEY, **copy)
    b = plant_video(place / "cache", "r1_copy", 0, key=KEY, **copy)
    write(place / "a.txt", a)
    write(place / "b.txt", b)
    assert run(place, "check", "a.txt", "b.txt") == 4
    assert f"1 equal files under two names, e.g. {a.folder} = {b.folder}" in capsys.readouterr().out


def test_check_finds_one_file_that_is_called_real_and_fake(place, capsys):
    copy = {"file": {"sha256": "ab" * 32}}
    a = plant_video(place / "cache", "r4", 0, **copy)
    b = plant_video(place / "cache", "f_r4", 1, **copy)
    write(place / "m.txt", a, b)
    assert run(place, "check", "m.txt") == 4
    said = f"1 files stand under two names as real and as fake, e.g. {a.folder} 0 and {b.folder} 1"
    assert said in capsys.readouterr().out


def test_check_tells_one_class_and_refuses_wrong_labels(place, capsys):
    write(place / "one.txt", Entry(f"ffpp/{KEY}/r1", 0))
    assert run(place, "check", "one.txt") == 0
    assert "only one class" in capsys.readouterr().out
    write(place / "wrong.txt", Entry(f"ffpp/{KEY}/r1", 1))
    assert run(place, "check", "wrong.txt") == 4
    assert "1 labels differ from the cache" in capsys.readouterr().out


def test_bad_lines_and_absent_folders_are_refused_without_a_traceback(place, capsys):
    (place / "bad.txt").write_text("a 2\nb\n")
    assert run(place, "check", "bad.txt") == 4
    err = capsys.readouterr().err
    assert "2 bad lines" in err and "Traceback" not in err
    write(place / "gone.txt", Entry(f"ffpp/{KEY}/r1", 0), Entry(f"ffpp/{KEY}/gone", 1))
    assert run(place, "check", "gone.txt") == 4
    assert run(place, "check", "gone.txt", "--allow-missing") == 0
    assert "1 of 2 folders are missing" in capsys.readouterr().err


def test_stats(place, capsys):
    assert run(place, "stats", "train.txt") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert ["ffpp", "c23", "FaceSwap", "fake", "1"] in lines and [
        "ffpp",
        "c23",
        "real",
        "real",
        "1",
    ] in lines


def test_merge_and_filter_write_manifests(place):
    assert run(place, "merge", "train.txt", "test.txt", "--out", "all.txt") == 0
    assert len((place / "all.txt").read_text().splitlines()) == 6
    assert (
        run(place, "filter", "all.txt", "--methods", "FaceSwap", "--balance", "--out", "small.txt")
        == 0
    )
    assert sorted(line[-1] for line in (place / "small.txt").read_text().splitlines()) == ["0", "1"]
    assert run(place, "filter", "all.txt", "--methods", "Nothing", "--out", "x.txt") == 2
    assert not (place / "x.txt").exists()


def test_picture_manifests_stay_beside_their_folders(place, capsys):
    for name in ("a", "b"):
        plant_pictures(place / "faces", name)
    write(place / "faces" / "list.txt", Entry("a", 0), Entry("b", 1))
    assert run(place, "filter", "faces/list.txt", "--label", "1", "--out", "faces/fakes.txt") == 0
    assert (place / "faces/fakes.txt").read_text() == "b 1\n"
    assert run(place, "filter", "faces/list.txt", "--label", "1", "--out", "fakes.txt") == 2
    assert "beside their manifest" in capsys.readouterr().err


def test_import_and_check_what_was_imported(tmp_path, capsys):
    for label in ("real", "fake"):
        plant_pictures(tmp_path, f"DF/train/{label}/0")
    assert main(["manifest", "import", "clrnet", str(tmp_path)]) == 0
    assert "train.txt  2 entries" in capsys.readouterr().out
    assert main(["manifest", "check", str(tmp_path / "train.txt")]) == 0
    assert (
        main(["manifest", "import", "clrnet", str(tmp_path), "--out", str(tmp_path / "lists")]) == 0
    )
    assert f"--cache {tmp_path}" in capsys.readouterr().out
    assert (
        main(["manifest", "check", str(tmp_path / "lists/train.txt"), "--cache", str(tmp_path)])
        == 0
    )

"""extract as typed: a part of a known set, and files that stand under several names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from unmask.commands import main as cli
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video
from unmask.pipeline.sources.dataset import SourceOptions
from unmask.pipeline.sources.registry import discover

SMALL = ["--clips", "2", "--frames", "2", "--size", "32", "--no-bands", "--jobs", "1"]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Short videos of four people."""
    folder = tmp_path_factory.mktemp("people")
    for seed in range(4):
        frames = draw_frames(draw_identity(seed), 12, (320, 240), seed=seed)
        encode_video(folder / f"{seed}.mp4", [picture for picture, _ in frames])
    return sorted(folder.iterdir())


def extract(root: Path, name: str, *words: str) -> int:
    places = ["--cache", str(root / "cache"), "--manifests", str(root / "manifests")]
    return cli.main(["extract", "--dataset", name, *places, *SMALL, *words])


def plant(root: Path, video: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, root / name)


def test_a_part_of_an_official_set_is_told_in_one_line_and_goes_on(
    people: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = tmp_path / "ffpp"
    plant(data, people[0], "original_sequences/youtube/c23/videos/071.mp4")
    plant(data, people[1], "manipulated_sequences/Deepfakes/c23/videos/071_054.mp4")
    assert extract(tmp_path, "ffpp", "--root", str(data)) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "lists name" in line]
    assert told == [
        "2 of the 5,000 videos that the lists name are on the disk; not there: Deepfakes 999, "
        "Face2Face 1,000, FaceSwap 1,000, NeuralTextures 1,000, real 999"
    ]
    assert extract(tmp_path, "ffpp", "--root", str(data), "--strict") == 2
    assert "videos of the official lists are missing" in capsys.readouterr().err


def test_a_row_of_ones_own_table_that_names_no_file_is_a_fault(
    people: list[Path], tmp_path: Path
) -> None:
    plant(tmp_path, people[0], "a.mp4")
    (tmp_path / "t.csv").write_text("path,label\na.mp4,0\ngone.mp4,1\n")
    assert extract(tmp_path, "csv", "--root", str(tmp_path / "t.csv")) == 3


def test_what_is_passed_over_is_counted_and_an_unfinished_download_is_a_fault(
    people: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    plant(tmp_path / "data", people[0], "real/a.mp4", "real/content.divx")
    (tmp_path / "data" / "real" / "notes.txt").write_text("x")
    assert extract(tmp_path, "folder", "--root", str(tmp_path / "data")) == 0
    said = capsys.readouterr()
    assert "not media (.txt) 1" in said.err and "train.txt  2 entries" in said.out
    plant(tmp_path / "data", people[0], "real/b.mp4.part")
    assert extract(tmp_path, "folder", "--root", str(tmp_path / "data")) == 3
    assert "unfinished download 1" in capsys.readouterr().err


def test_copies_under_other_names_stay_in_one_split(people: list[Path], tmp_path: Path) -> None:
    data = tmp_path / "data"
    for video in people:
        plant(data, video, f"real/{video.name}", f"real/copy_of_{video.name}")
    before = {v.path.name: v.split for v in discover("folder", data, SourceOptions()).videos}
    apart = [v.name for v in people if before[v.name] != before[f"copy_of_{v.name}"]]
    assert apart, "or nothing is shown"
    assert extract(tmp_path, "folder", "--root", str(data)) == 0
    lists = sorted((tmp_path / "manifests").rglob("*.txt"))
    after = {line.split()[0]: path.stem for path in lists for line in path.read_text().splitlines()}
    assert len(after) == 8
    for video in people:
        places = {split for name, split in after.items() if name.endswith(video.stem)}
        assert len(places) == 1, (video.name, after)
    check = ["manifest", "check", *map(str, lists), "--cache", str(tmp_path / "cache")]
    assert len(lists) > 1 and cli.main(check) == 0


def test_one_file_that_is_called_real_and_fake_is_named_with_both_names(
    people: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    data = tmp_path / "data"
    plant(data, people[0], "real/a.mp4", "fake/swap/other.mp4")
    plant(data, people[1], "real/b.mp4")
    assert extract(tmp_path, "folder", "--root", str(data)) == 3
    (fault,) = [line for line in capsys.readouterr().out.splitlines() if "the same file" in line]
    assert "real-a" in fault and "fake-swap-other" in fault

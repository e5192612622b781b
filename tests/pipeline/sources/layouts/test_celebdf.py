"""Celeb-DF: an inverted test list without header, first id is the target, recordings leak."""

from __future__ import annotations

import pytest

from tests.support.trees import by_key, find, keys, plant, splits
from unmask.commands.main import main
from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import Video
from unmask.pipeline.sources.audit import audit
from unmask.testing.datasets import DatasetTests

LIST = "List_of_testing_videos.txt"
LINES = (
    "1 YouTube-real/00170.mp4\n"
    "1 Celeb-real/id1_0007.mp4\n"
    "0 Celeb-synthesis/id1_id0_0007.mp4\n"
    "0 Celeb-synthesis/id2_id3_0001.mp4\n"
)


@pytest.fixture
def root(tmp_path):
    plant(
        tmp_path, "Celeb-real/id1_0007.mp4", "Celeb-real/id2_0001.mp4", "Celeb-real/id27_0005.mp4"
    )
    plant(tmp_path, "YouTube-real/00170.mp4", "YouTube-real/00171.mp4")
    plant(
        tmp_path,
        *(
            f"Celeb-synthesis/{n}.mp4"
            for n in ("id1_id0_0007", "id2_id3_0001", "id1_id2_0007", "id27_id1_0005")
        ),
    )
    (tmp_path / LIST).write_text(LINES)
    return tmp_path


def test_every_field(root):
    found = by_key(find("celebdf2", root))
    assert found["Celeb-synthesis/id1_id0_0007"] == Video(
        dataset="celebdf2",
        key="Celeb-synthesis/id1_id0_0007",
        video_id="Celeb-synthesis-id1_id0_0007",
        path=root / "Celeb-synthesis/id1_id0_0007.mp4",
        label=1,
        method="Celeb-synthesis",
        split="test",
        split_origin="official",
        target="id1",
        source="id0",
        pair="Celeb-real/id1_0007",
        group="id1_0007",
        video_fake=True,
    )
    assert found["Celeb-real/id2_0001"] == Video(
        dataset="celebdf2",
        key="Celeb-real/id2_0001",
        video_id="Celeb-real-id2_0001",
        path=root / "Celeb-real/id2_0001.mp4",
        label=0,
        method="real",
        split="train",
        split_origin="derived",
        target="id2",
        group="id2_0001",
        video_fake=False,
    )
    assert found["YouTube-real/00170"] == Video(
        dataset="celebdf2",
        key="YouTube-real/00170",
        video_id="YouTube-real-00170",
        path=root / "YouTube-real/00170.mp4",
        label=0,
        method="real",
        split="test",
        split_origin="official",
        group="YouTube-real/00170",
        video_fake=False,
    )


def test_the_first_line_is_no_header_and_the_digit_is_inverted(root):
    dataset = find("celebdf2", root)
    assert {key for key, split in splits(dataset).items() if split == "test"} == {
        "YouTube-real/00170",
        "Celeb-real/id1_0007",
        "Celeb-synthesis/id1_id0_0007",
        "Celeb-synthesis/id2_id3_0001",
    }
    assert not dataset.problems


def test_a_list_with_our_polarity_contradicts_the_folders_which_win(root):
    (root / LIST).write_text(LINES.replace("1 ", "x ").replace("0 ", "1 ").replace("x ", "0 "))
    dataset = find("celebdf2", root)
    assert {v.key: v.label for v in dataset.videos if v.split == "test"}["YouTube-real/00170"] == 0
    assert any(
        "4 lines have a digit that contradicts the folder" in problem
        for problem in dataset.problems
    )


def test_the_one_frame_video_stays_in_for_extraction_to_judge(root):
    assert {"Celeb-real/id27_0005", "Celeb-synthesis/id27_id1_0005"} <= set(
        keys(find("celebdf2", root).videos)
    )


def test_recordings_shared_with_the_test_list_are_told_and_dropped_when_strict(root):
    loose, strict = find("celebdf2", root), find("celebdf2", root, strict=True)
    shared = {"Celeb-real/id2_0001", "Celeb-synthesis/id1_id2_0007"}
    assert any("2 training videos share" in note for note in loose.notes)
    assert set(keys(loose.videos)) - set(keys(strict.videos)) == shared


def test_own_split_is_disjoint_in_people(tmp_path):
    people = range(12)
    plant(tmp_path, *(f"Celeb-real/id{p}_0000.mp4" for p in people))
    plant(
        tmp_path,
        *(f"Celeb-synthesis/id{p}_id{q}_0000.mp4" for p in people for q in people if p != q),
    )
    dataset = find("celebdf2", tmp_path, split_ratio=(0.6, 0.2, 0.2))
    of = {v.target: v.split for v in dataset.videos if v.label == 0}
    fakes = [v for v in dataset.videos if v.label == 1]
    assert fakes and all(v.split == of[v.target] == of[v.source] for v in fakes)
    assert any("dropped because their donor" in note for note in dataset.notes)


def test_a_listed_video_that_is_gone_is_missing(root):
    (root / "Celeb-synthesis/id2_id3_0001.mp4").unlink()
    dataset = find("celebdf2", root)
    assert keys(dataset.missing) == ["Celeb-synthesis/id2_id3_0001"]
    assert dataset.missing[0].split == "test" and dataset.missing[0].label == 1


@pytest.mark.parametrize(
    "line", ["label path", "1", "0 Elsewhere/x.mp4", "0 Celeb-real", "1;Celeb-real/x.mp4"]
)
def test_a_list_with_a_line_that_cannot_be_read_is_refused_and_trains_on_no_test_video(root, line):
    (root / LIST).write_text(LINES + line + "\n")
    with pytest.raises(UsageError, match=rf"{LIST}.* first in line {LINES.count(chr(10)) + 1}"):
        find("celebdf2", root)


def test_an_empty_list_is_refused(root):
    (root / LIST).write_text("\n")
    with pytest.raises(UsageError, match="no line at all"):
        find("celebdf2", root)


@pytest.mark.parametrize(
    ("plain", "other"),
    [(" ", "\t"), (" ", "   "), ("/", "\\"), (" ", " ./"), (" ", " Celeb-DF-v2/"), ("\n", "\r\n")],
)
def test_a_list_as_others_rewrite_it_gives_the_same_splits(root, plain, other):
    wanted = find("celebdf2", root).videos
    (root / LIST).write_bytes(LINES.replace(plain, other).encode())
    assert find("celebdf2", root).videos == wanted


def test_other_spelling_and_the_extra_level_of_other_toolboxes(root):
    (root / "YouTube-real").rename(root / "Youtube-real")
    for folder in ("Celeb-real", "Youtube-real", "Celeb-synthesis"):
        names = [path.name for path in (root / folder).iterdir()]
        (root / folder / "videos").mkdir()
        for name in names:
            (root / folder / name).rename(root / folder / "videos" / name)
    dataset = find("celebdf2", root)
    assert not dataset.missing and len(dataset.videos) == 9
    assert splits(dataset)["YouTube-real/00170"] == "test"


def test_a_list_that_cannot_be_read_is_exit_three(root, tmp_path):
    (root / LIST).write_text("1;YouTube-real;00170.mp4\n")
    assert main(["extract", "--dataset", "celebdf2", "--root", str(root)]) == 3


def test_without_the_list_it_is_refused_with_the_way_out(root):
    (root / LIST).unlink()
    with pytest.raises(UsageError, match=r"List_of_testing_videos\.txt.*--splits.*--split-ratio"):
        find("celebdf2", root)


def test_version_one_and_two_expect_their_own_numbers(root):
    assert "fakes: 795 published, 4 found" in audit(find("celebdf1", root)).faults
    faults = audit(find("celebdf2", root)).faults
    assert (
        "fakes: 5639 published, 4 found" in faults
        and "test reals: 178 published, 2 found" in faults
    )


def test_published_numbers_say_nothing_when_videos_are_left_out_on_purpose(root):
    assert audit(find("celebdf2", root, strict=True)).ok


def test_version_three_keys_hold_the_method_and_talking_faces_have_no_donor(tmp_path):
    fakes = [
        "Celeb-synthesis/FaceSwap/BlendFace/id1_id0_0007.mp4",
        "Celeb-synthesis/FaceReenact/LIA/id1_id0_0007.mp4",
        "Celeb-synthesis/TalkingFace/SadTalker/id1_0007_test_00012.mp4",
    ]
    plant(tmp_path, "Celeb-real/id1_0007.mp4", *fakes)
    (tmp_path / LIST).write_text(
        "1 Celeb-real/id1_0007.mp4\n" + "".join(f"0 {name}\n" for name in fakes)
    )
    found = by_key(find("celebdf++", tmp_path))
    assert len(found) == 4
    talking = found["Celeb-synthesis/TalkingFace/SadTalker/id1_0007_test_00012"]
    assert (talking.method, talking.target, talking.source, talking.pair) == (
        "SadTalker",
        "id1",
        None,
        "Celeb-real/id1_0007",
    )
    swaps = {
        found[f"Celeb-synthesis/{m}/id1_id0_0007"].method
        for m in ("FaceSwap/BlendFace", "FaceReenact/LIA")
    }
    assert swaps == {"BlendFace", "LIA"}


class TestShared(DatasetTests):
    dataset_name = "celebdf2"

    @pytest.fixture
    def tree(self, root):
        return root

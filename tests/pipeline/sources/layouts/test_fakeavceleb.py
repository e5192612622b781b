"""FakeAVCeleb: the odd unnamed column, spaces and parentheses in paths, and the switch of what
counts as fake.
"""

from __future__ import annotations

import pytest

from tests.support.trees import by_key, find, keys, plant
from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import Video
from unmask.testing.datasets import DatasetTests

HEADER = "source,target1,target2,method,category,type,race,gender,path,\n"
FOLDER = "Asian (East)/women/id00076"
ROWS = (
    "id00076,-,-,real,A,RealVideo-RealAudio,Asian "
    f"(East),women,00109.mp4,FakeAVCeleb/RealVideo-RealAudio/{FOLDER}\n"
    f"id00076,-,-,rtvc,B,RealVideo-FakeAudio,Asian (East),women,00109_fake.mp4,"
    f"FakeAVCeleb/RealVideo-FakeAudio/{FOLDER}\n"
    f"id00076,id10001,-,faceswap,C,FakeVideo-RealAudio,Asian (East),women,00109_4_id10001_x.mp4,"
    f"FakeAVCeleb/FakeVideo-RealAudio/{FOLDER}\n"
    "id00076,id10001,-,wav2lip,D,FakeVideo-FakeAudio,Asian "
    "(East),women,00109_4_id10001_wavtolip.mp4,"
    f"FakeAVCeleb/FakeVideo-FakeAudio/{FOLDER}\n"
)
REAL = f"RealVideo-RealAudio/{FOLDER}/00109"
VOICE = f"RealVideo-FakeAudio/{FOLDER}/00109_fake"
PICTURE = f"FakeVideo-RealAudio/{FOLDER}/00109_4_id10001_x"
BOTH = f"FakeVideo-FakeAudio/{FOLDER}/00109_4_id10001_wavtolip"


@pytest.fixture
def root(tmp_path):
    plant(tmp_path, *(f"{key}.mp4" for key in (REAL, VOICE, PICTURE, BOTH)))
    (tmp_path / "meta_data.csv").write_text(HEADER + ROWS)
    return tmp_path


def test_every_field(root):
    found = by_key(find("fakeavceleb", root))
    assert found[PICTURE] == Video(
        dataset="fakeavceleb",
        key=PICTURE,
        video_id="FakeVideo-RealAudio-Asian-East-women-id00076-00109_4_id10001_x",
        path=root / f"{PICTURE}.mp4",
        label=1,
        method="faceswap",
        split=found[REAL].split,
        split_origin="derived",
        target="id00076",
        source="id10001",
        pair=REAL,
        group="id00076",
        video_fake=True,
        audio_fake=False,
    )
    assert found[REAL] == Video(
        dataset="fakeavceleb",
        key=REAL,
        video_id="RealVideo-RealAudio-Asian-East-women-id00076-00109",
        path=root / f"{REAL}.mp4",
        label=0,
        method="real",
        split=found[REAL].split,
        split_origin="derived",
        target="id00076",
        group="id00076",
        video_fake=False,
        audio_fake=False,
    )


@pytest.mark.parametrize(
    ("mode", "labels"),
    [
        ("visual", {REAL: 0, VOICE: 0, PICTURE: 1, BOTH: 1}),
        ("audio", {REAL: 0, VOICE: 1, PICTURE: 0, BOTH: 1}),
        ("any", {REAL: 0, VOICE: 1, PICTURE: 1, BOTH: 1}),
    ],
)
def test_a_fake_voice_is_a_fake_only_when_asked_for(root, mode, labels):
    assert {v.key: v.label for v in find("fakeavceleb", root, label_mode=mode).videos} == labels


def test_all_videos_of_a_person_are_in_one_split(root):
    assert len({v.split for v in find("fakeavceleb", root).videos}) == 1


def test_both_sides_of_the_join_are_reported(root):
    (root / f"{BOTH}.mp4").unlink()
    plant(root, f"FakeVideo-FakeAudio/{FOLDER}/extra.mp4")
    (root / "meta_data.csv").write_text(
        HEADER + ROWS + "id1,-,-,real,A,RealVideo-RealAudio,x,y,a.mp4,Elsewhere\n"
    )
    dataset = find("fakeavceleb", root)
    assert keys(dataset.missing) == [BOTH]
    assert dataset.unlisted == (f"FakeVideo-FakeAudio/{FOLDER}/extra.mp4",)
    assert any("1 rows without" in problem for problem in dataset.problems)


def test_a_copy_that_lost_the_table_is_read_by_folders_and_names(root):
    whole = by_key(find("fakeavceleb", root))
    (root / "meta_data.csv").unlink()
    dataset = find("fakeavceleb", root)
    assert any(note.startswith("no meta_data.csv") for note in dataset.notes)
    told = by_key(dataset)
    for key, video in whole.items():
        same = ("label", "target", "source", "pair", "group", "video_fake", "audio_fake", "split")
        assert all(getattr(told[key], name) == getattr(video, name) for name in same), key
    assert [told[key].method for key in (REAL, BOTH)] == ["real", "wav2lip"]
    assert told[PICTURE].method == told[VOICE].method == "fake"  # their names do not say how


def test_a_table_that_went_through_pandas_is_the_same_table(root):
    whole = find("fakeavceleb", root)
    lines = (HEADER + ROWS).splitlines()
    numbered = [f",{lines[0]}Unnamed: 9", *(f"{n},{line}" for n, line in enumerate(lines[1:]))]
    (root / "meta_data.csv").write_text("\n".join(numbered) + "\n")
    assert find("fakeavceleb", root) == whole


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no videos under"):
        find("fakeavceleb", tmp_path)


class TestShared(DatasetTests):
    dataset_name = "fakeavceleb"

    @pytest.fixture
    def tree(self, root):
        return root

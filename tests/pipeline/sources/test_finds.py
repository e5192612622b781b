"""One odd row of a list costs itself or one clear line, in whatever layout it stands."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.support.trees import SMALL, find, keys, plant, plant_ffpp, plant_json
from unmask.pipeline.errors import UsageError

LAVDF = {
    "file": "train/1.mp4",
    "split": "train",
    "modify_video": False,
    "modify_audio": False,
    "fake_periods": [],
    "duration": 2.0,
}


def lavdf(root: Path, *rows: object) -> Path:
    plant_json(root / "metadata.json", list(rows))
    return plant(root, "train/1.mp4")


def dfdc(root: Path, rows: dict[str, object]) -> Path:
    plant_json(root / "dfdc_train_part_0/metadata.json", rows)
    return plant(root, *(f"dfdc_train_part_0/{name}" for name in ("aa.mp4", "aa.avi", "bb.mp4")))


def test_a_row_that_stands_twice_is_one_video_and_is_told(tmp_path):
    dataset = find("lavdf", lavdf(tmp_path, LAVDF, LAVDF))
    assert keys(dataset.videos) == ["train/1"] and not dataset.missing
    assert any("1 videos are there twice, e.g. 'train/1'" in line for line in dataset.problems)


def test_a_row_twice_in_avdeepfake1m_is_one_video(tmp_path):
    row = {"file": "id1/a.mp4", "modify_type": "real"}
    plant_json(tmp_path / "train_metadata.json", [row, row])
    dataset = find("avdeepfake1m", plant(tmp_path, "train/id1/a.mp4"))
    assert keys(dataset.videos) == ["train/id1/a"] and not dataset.missing


def test_one_video_with_two_labels_is_refused_with_both_names(tmp_path):
    root = dfdc(tmp_path, {"aa.mp4": {"label": "FAKE"}, "aa.avi": {"label": "REAL"}})
    with pytest.raises(UsageError, match=r"real and as fake \('aa\.mp4' and 'aa\.avi'\)"):
        find("dfdc", root)


@pytest.mark.parametrize(
    ("field", "value"),
    [("split", ["train"]), ("file", 5), ("file", None), ("split", {}), ("split", "dev?")],
)
def test_a_row_of_wrong_types_is_left_out_and_counted(tmp_path, field, value):
    dataset = find("lavdf", lavdf(tmp_path, LAVDF, {**LAVDF, field: value}))
    assert keys(dataset.videos) == ["train/1"]
    assert "metadata.json: 1 rows without a file or a known split" in dataset.problems


@pytest.mark.parametrize(
    ("field", "value"),
    [("original", 5), ("duration", "2 s"), ("fake_periods", [[0, 10**400]]), ("fake_periods", 7)],
)
def test_a_side_field_of_a_wrong_type_is_as_if_it_were_not_there(tmp_path, field, value):
    root = lavdf(tmp_path, {**LAVDF, field: value})
    assert find("lavdf", root).videos == find("lavdf", lavdf(tmp_path, LAVDF)).videos


@pytest.mark.parametrize(
    ("name", "why"),
    [("\ud800.mp4", "half a character"), ("x" * 5000 + ".mp4", "too long"), ("a\0.mp4", "zero")],
)
def test_a_name_that_no_file_can_have_is_passed_over_and_told(tmp_path, name, why):
    dataset = find("lavdf", lavdf(tmp_path, LAVDF, {**LAVDF, "file": name}))
    assert keys(dataset.videos) == ["train/1"] and not dataset.missing
    assert any(why in line and len(line) < 200 for line in dataset.problems)


@pytest.mark.parametrize("original", ["bb.mp4", ["bb.mp4"]])
@pytest.mark.parametrize("nothing", [float("nan"), None, "", "NaN", "absent"])
def test_dfdc_as_pandas_writes_it_again_has_reals_without_original(tmp_path, nothing, original):
    rows = {
        "aa.mp4": {"label": "FAKE", "original": original},
        "bb.mp4": {"label": "REAL", "original": nothing},
    }
    if nothing == "absent":
        del rows["bb.mp4"]["original"]
    found = {v.key: v for v in find("dfdc", dfdc(tmp_path, rows)).videos}
    assert found["dfdc_train_part_0/bb"].pair is None
    assert found["dfdc_train_part_0/aa"].pair == "dfdc_train_part_0/bb"


@pytest.mark.parametrize("original", [5, {}, ["bb.mp4", "cc.mp4"], True])
def test_a_dfdc_original_that_is_no_name_costs_its_row_and_is_told(tmp_path, original):
    rows = {"aa.mp4": {"label": "FAKE", "original": original}, "bb.mp4": {"label": "REAL"}}
    dataset = find("dfdc", dfdc(tmp_path, rows))
    assert keys(dataset.videos) == ["dfdc_train_part_0/bb"]
    assert any("'aa.mp4' is left out: its original is" in line for line in dataset.problems)


def test_half_a_character_in_an_originals_name_costs_its_row_and_is_told(tmp_path):
    """No file can have it, and no group be made of it: found by the fuzz of records."""
    rows = {
        "aa.mp4": {"label": "FAKE", "original": "\ud800.mp4"},
        "bb.mp4": {"label": "REAL"},
    }
    dataset = find("dfdc", dfdc(tmp_path, rows))
    assert len(dataset.videos) == 1 and dataset.videos[0].label == 0
    assert any("half a character" in line for line in dataset.problems)


def test_dfdc_labels_may_be_words(tmp_path):
    plant(tmp_path, "test/a.mp4", "test/b.mp4")
    (tmp_path / "test/labels.csv").write_text("filename,label\na.mp4,FAKE\nb.mp4,real\n")
    dataset = find("dfdc", tmp_path)
    assert {v.key: v.label for v in dataset.videos} == {"test/a": 1, "test/b": 0}


@pytest.mark.parametrize("span", ["0-inf", "0-1e999", "nan-1", "1-0", "-1-2"])
def test_a_span_without_a_finite_end_is_refused_with_file_and_line(tmp_path, span):
    (tmp_path / "t.csv").write_text(f"path,label,fake_spans\na.mp4,0,\nb.mp4,1,{span}\n")
    with pytest.raises(UsageError, match=r"t\.csv:3: "):
        find("csv", tmp_path)


def test_a_name_twice_in_one_object_is_refused_instead_of_the_last_one_winning(tmp_path):
    root = dfdc(tmp_path, {})
    text = '{"aa.mp4": {"label": "REAL"}, "aa.mp4": {"label": "FAKE"}}'
    (root / "dfdc_train_part_0/metadata.json").write_text(text)
    with pytest.raises(UsageError, match=r"'aa\.mp4' stands twice"):
        find("dfdc", root)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes with a few replaced, cut out, repeated or put in."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.randrange(12))
        odd = [b"", b"\xff\xfe", b"\0", b"[" * 50, b"NaN", b"1e999", b'"', b",", b"\n", b"null"]
        middle = chance.choice([*odd, data[start:end] * 2, bytes([chance.randrange(256)])])
        data = data[:start] + middle + data[end:]
    return data


@pytest.fixture
def lists(tmp_path: Path) -> dict[str, Path]:
    """Dataset -> a list of it that is sound."""
    plant_ffpp(tmp_path / "ffpp", SMALL, methods=("Deepfakes",))
    lavdf(tmp_path / "lavdf", LAVDF, {**LAVDF, "file": "dev/2.mp4", "fake_periods": [[0.5, 1]]})
    dfdc(tmp_path / "dfdc", {"aa.mp4": {"label": "FAKE", "original": "bb.mp4"}})
    plant_json(
        tmp_path / "avdeepfake1m/train_metadata.json",
        [{"file": "id1/a.mp4", "modify_type": "both_modified", "fake_segments": [[0, 1]]}],
    )
    (tmp_path / "t.csv").write_text("path,label,fake_spans,split\na.mp4,1,0-1,train\nb.mp4,0,,\n")
    (tmp_path / "celeb").mkdir()
    celeb = tmp_path / "celeb/List_of_testing_videos.txt"
    celeb.write_text("1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id1_id0_0007.mp4\n")
    return {
        "ffpp": tmp_path / "ffpp/train.json",
        "lavdf": tmp_path / "lavdf/metadata.json",
        "dfdc": tmp_path / "dfdc/dfdc_train_part_0/metadata.json",
        "avdeepfake1m": tmp_path / "avdeepfake1m/train_metadata.json",
        "csv": tmp_path / "t.csv",
        "celebdf2": celeb,
    }


@pytest.mark.parametrize("times", [30, pytest.param(3400, marks=pytest.mark.slow)])
def test_no_mutation_of_a_list_is_more_than_one_clear_refusal(lists, times):
    refused = 0
    for name, path in lists.items():
        sound, chance = path.read_bytes(), random.Random(7)
        root = path if name == "csv" else path.parents[1] if name == "dfdc" else path.parent
        find(name, root)
        for _ in range(times):
            path.write_bytes(mutated(sound, chance))
            try:
                found = find(name, root)
                json.dumps([video.fake_spans for video in found.videos], allow_nan=False)
            except UsageError:
                refused += 1
    assert refused > times  # the mutations do reach the readers

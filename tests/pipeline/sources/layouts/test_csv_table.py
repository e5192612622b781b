"""A table of your own: every bad row is named, nothing is guessed."""

from __future__ import annotations

import json

import pytest

from tests.support.trees import by_key, find, keys, plant, splits
from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import Video
from unmask.pipeline.sources.dataset import SourceOptions
from unmask.pipeline.sources.registry import discover


def test_every_field(tmp_path):
    plant(tmp_path, "a/x y.mp4", "m/x.png", "b.mp4")
    (tmp_path / "videos.csv").write_text(
        "path,label,key,split,method,group,compression,target,source,pair,mask,video_fake,audio_fake,fake_spans\n"
        '"a/x y.mp4",fake,k1,Valid,Swap,g,c40,t,s,k0,m/x.png,1,0,0.5-1.25;3-4\n'
        "b.mp4,0,k0,train,,,,,,,,,,\n"
    )
    found = by_key(find("csv", tmp_path, name="mine"))
    assert found["k1"] == Video(
        dataset="mine",
        key="k1",
        video_id="k1",
        path=tmp_path / "a/x y.mp4",
        label=1,
        method="Swap",
        compression="c40",
        split="val",
        split_origin="official",
        target="t",
        source="s",
        pair="k0",
        group="g",
        mask=tmp_path / "m/x.png",
        video_fake=True,
        audio_fake=False,
        fake_spans=((0.5, 1.25), (3.0, 4.0)),
    )
    assert (found["k0"].label, found["k0"].method, found["k0"].group, found["k0"].mask) == (
        0,
        "real",
        "k0",
        None,
    )


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_three_forms_give_the_same_records(tmp_path, suffix):
    plant(tmp_path, "a.mp4", "b.mp4")
    path = tmp_path / f"t.{suffix}"
    mark = "\t" if suffix == "tsv" else ","
    rows = [
        {"path": "a.mp4", "label": "real", "fake_spans": []},
        {"path": "b.mp4", "label": 1, "fake_spans": [[1, 2.5]]},
    ]
    if suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    else:
        path.write_text(
            f"path{mark}label{mark}fake_spans\na.mp4{mark}real{mark}\nb.mp4{mark}1{mark}1-2.5\n"
        )
    dataset = discover("csv", path, SourceOptions())
    assert [(v.key, v.label, v.fake_spans) for v in dataset.videos] == [
        ("a.mp4", 0, ()),
        ("b.mp4", 1, ((1.0, 2.5),)),
    ]


def test_all_bad_rows_are_listed_with_their_lines(tmp_path):
    plant(tmp_path, "a.mp4")
    (tmp_path / "t.csv").write_text(
        "path,label,split,audio_fake\na.mp4,2,,\n,1,,\na.mp4,1,dev,\na.mp4,0,train,\na.mp4,1,x,\nb.mp4,1,test,maybe\n"
    )
    with pytest.raises(UsageError) as caught:
        find("csv", tmp_path)
    text = str(caught.value)
    assert "5 bad rows" in text
    for part in (
        "t.csv:2: label '2'",
        "t.csv:3: no path",
        "t.csv:5: 'a.mp4' stands in line 4",
        "t.csv:6: split 'x'",
    ):
        assert part in text
    assert "t.csv:7: audio_fake 'maybe'" in text


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("path\n", "no column 'label'"),
        ("path,label,metod\n", "did you mean 'method'"),
        ("path,label\n", "no rows"),
        ("", "empty"),
    ],
)
def test_wrong_headers(tmp_path, header, message):
    (tmp_path / "t.csv").write_text(
        header + ("" if "rows" in message or not header else "a.mp4,1,x\n")
    )
    with pytest.raises(UsageError, match=message):
        find("csv", tmp_path)


def test_two_tables_or_none_are_refused(tmp_path):
    with pytest.raises(UsageError, match="found none"):
        find("csv", tmp_path)
    plant(tmp_path, "a.csv", "b.tsv")
    with pytest.raises(UsageError, match=r"'a\.csv', 'b\.tsv'"):
        find("csv", tmp_path)


def test_absent_files_are_missing_and_rows_without_split_are_told(tmp_path):
    plant(tmp_path, "a.mp4")
    (tmp_path / "t.csv").write_text("path,label,split\na.mp4,1,\nb.mp4,0,test\n")
    dataset = find("csv", tmp_path)
    assert keys(dataset.missing) == ["b.mp4"] and splits(dataset) == {"a.mp4": "none"}
    assert any("1 rows have no split" in problem for problem in dataset.problems)


def test_groups_decide_derived_splits(tmp_path):
    names = [f"{n}.mp4" for n in range(40)]
    plant(tmp_path, *names)
    (tmp_path / "t.csv").write_text(
        "path,label,group\n" + "".join(f"{n},{i % 2},person{i // 4}\n" for i, n in enumerate(names))
    )
    videos = find("csv", tmp_path, split_ratio=(0.6, 0.2, 0.2)).videos
    of = {}
    for video in videos:
        of.setdefault(video.group, set()).add(video.split)
    assert all(len(found) == 1 for found in of.values()) and set.union(*of.values()) == {
        "train",
        "val",
        "test",
    }


def test_tables_of_windows_and_of_pandas_are_read(tmp_path):
    plant(tmp_path, "vids/a.mp4", "vids/b.mp4", "odd\\name.mp4", "m/a.png")
    table = tmp_path / "t.csv"
    table.write_text("path,label,mask\nvids\\a.mp4,real,m\\a.png\nodd\\name.mp4,fake,\n")
    found = by_key(find("csv", table))
    assert found["vids/a.mp4"].path == tmp_path / "vids/a.mp4"
    assert found["vids/a.mp4"].mask == tmp_path / "m/a.png"
    assert found["odd\\name.mp4"].path == tmp_path / "odd\\name.mp4", "a file is called so"
    for head in ("", "Unnamed: 0"):
        table.write_text(f"{head},path,label\n0,vids/a.mp4,0\n1,vids/b.mp4,1\n")
        dataset = find("csv", table)
        assert {v.key: v.label for v in dataset.videos} == {"vids/a.mp4": 0, "vids/b.mp4": 1}
        assert "t.csv: a column without a name (an index) is passed over" in dataset.notes
    # "Unicode text" of Excel
    table.write_bytes("path,label\r\nvids/a.mp4,0\r\nvids/b.mp4,1\r\n".encode("utf-16"))
    assert {v.key: v.label for v in find("csv", table).videos} == {"vids/a.mp4": 0, "vids/b.mp4": 1}
    table.write_bytes("path,label\n".encode("utf-16")[:-1])
    with pytest.raises(UsageError, match="not readable UTF-16"):
        find("csv", table)
    table.write_text("weight,path,label\n1,vids/a.mp4,0\n")
    with pytest.raises(UsageError, match="no column 'weight'"):
        find("csv", table)

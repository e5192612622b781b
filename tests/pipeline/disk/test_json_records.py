"""JSON values become one of our dataclasses only where every field is known, present and of its
type.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from unmask.pipeline.config import TrainConfig
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import CacheError
from unmask.pipeline.records import Video

VIDEO = Video("ffpp", "a/b", "a-b", Path("/data/a.mp4"), 1, fake_spans=((0.5, 1.0),))


def plain(video: Video) -> dict[str, object]:
    return json.loads(json.dumps({**asdict(video), "path": str(video.path), "mask": None}))


def test_a_record_comes_back_equal_with_its_tuples_and_paths() -> None:
    assert record_of(Video, plain(VIDEO), "x", CacheError) == VIDEO
    config = TrainConfig(options={"frames": 5}, seed=3)
    assert record_of(TrainConfig, asdict(config), "x", CacheError) == config


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"label": True}, "label is True, expected int"),
        ({"label": 1.0}, "label"),
        ({"label": "1"}, "label"),
        ({"path": "/a\0b"}, "path"),
        ({"method": None}, "method"),
        ({"fake_spans": [[1.0]]}, "fake_spans"),
        ({"fake_spans": {"a": 1}}, "fake_spans"),
        ({"fake_frames": [[1, 2.5]]}, "fake_frames"),
        ({"video_fake": 1}, "video_fake"),
        ({"colour": "red"}, "'colour' that this version does not know"),
    ],
)
def test_another_type_or_an_unknown_field_is_named(change: dict[str, object], what: str) -> None:
    with pytest.raises(CacheError, match=what):
        record_of(Video, {**plain(VIDEO), **change}, "index.json", CacheError)


def test_a_field_that_is_lacking_is_named_and_so_is_what_is_no_object() -> None:
    row = plain(VIDEO)
    del row["label"], row["path"]
    with pytest.raises(CacheError, match="lacks label, path"):
        record_of(Video, row, "index.json", CacheError)
    with pytest.raises(CacheError, match="list where a JSON object belongs"):
        record_of(Video, [], "index.json", CacheError)


def test_a_word_of_a_closed_list_must_be_one_of_it() -> None:
    with pytest.raises(CacheError, match="precision"):
        record_of(TrainConfig, {"precision": "8-bit"}, "run.json", CacheError)

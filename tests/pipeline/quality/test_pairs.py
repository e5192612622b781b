"""Which fake is compared with which original, and why others are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_cache import KEY, crops_of, draw_video, mask_of
from unmask.pipeline.cache.writing import write_video
from unmask.pipeline.config import QualityConfig
from unmask.pipeline.errors import UsageError
from unmask.pipeline.quality.pairs import Pairs, find_pairs

SIZE = {"width": 640, "height": 480}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "set" / KEY).mkdir(parents=True)
    put(tmp_path, "r0", 0)
    return tmp_path


def put(cache: Path, name: str, label: int, change: dict | None = None, **facts: object) -> None:
    """One video of four clips, where a face lies as in every other, but for `change`."""
    pixels = draw_video(0, label)
    crops = replace(crops_of(pixels), **(change or {}))
    method = {"method": "swap", "pair": "r0"} if label else {"method": "real"}
    attributes = {
        "dataset": "set", "key": name, "video_id": name, "label": label, "group": "g0",
        "compression": "none", "media": SIZE, **method, **facts,
    }  # fmt: skip
    masks = mask_of(pixels) if facts.get("masked", label) else None
    write_video(cache / "set" / KEY, name, crops, None, masks, attributes)


def found_in(cache: Path, **options: object) -> Pairs:
    return find_pairs("set", QualityConfig(str(cache), **options))


def test_a_fake_is_beside_its_original_clip_by_clip(cache) -> None:
    put(cache, "f0", 1)
    found = found_in(cache, clips=0)
    (pair,) = found.pairs
    assert (pair.fake.name, pair.original.name, pair.method) == ("f0", "r0", "swap")
    assert pair.clips == ((0, 0), (1, 1), (2, 2), (3, 3)) and pair.masks and found.key == KEY
    assert found_in(cache, clips=2).pairs[0].clips == ((0, 0), (3, 3))


def test_every_other_ending_has_its_name(cache) -> None:
    plain = crops_of(draw_video(0, 1))
    moved = plain.transform + np.array([[0, 0, 0.01], [0, 0, 0]], np.float32)
    put(cache, "alone", 1, pair="r9")
    put(cache, "later", 1, {"index": plain.index + 1})
    put(cache, "own-box", 1, {"transform": moved})
    put(cache, "smaller", 1, media={"width": 320, "height": 240})
    put(cache, "partly", 1, fake_spans=[[0.0, 0.5]])
    put(cache, "spoken", 1, video_fake=False, audio_fake=True)
    put(cache, "broken", 1)
    put(cache, "silent", 1, media=None)
    (cache / "set" / KEY / "broken" / "zarr.json").write_bytes(b"{")
    found = found_in(cache)
    assert not found.pairs
    assert found.refused["swap", "none"] == {
        "no_original": 1, "other_window": 1, "other_transform": 1, "size_differs": 2,
        "stretched": 1, "only_sound": 1,
    }  # fmt: skip
    assert found.refused["", ""] == {"damaged": 1}


def test_published_masks_that_are_not_there_are_asked_for(cache) -> None:
    put(cache, "f0", 1, masked=0)
    assert found_in(cache, mask="published").refused["swap", "none"] == {"no_masks": 1}
    assert not found_in(cache).pairs[0].masks


def test_a_fake_of_the_second_person_meets_the_second_person(cache) -> None:
    plain = crops_of(draw_video(0, 1))
    other = {"transform": plain.transform + np.float32(5)}
    put(cache, "r0--1", 0, {**other, "track": 1}, key="r0")
    put(cache, "f0", 1, other)
    assert [pair.original.name for pair in found_in(cache).pairs] == ["r0--1"]


def test_a_clip_that_the_fake_lacks_costs_that_clip(cache) -> None:
    window = np.array([0, 1, 2, 9])
    put(cache, "f0", 1, {"window": window})
    (pair,) = found_in(cache).pairs
    assert pair.clips == ((0, 0), (1, 1), (2, 2)) and pair.dropped == {"other_window": 1}


def test_a_limit_takes_whole_groups_in_an_order_of_the_seed(cache) -> None:
    for number in range(12):
        put(cache, f"f{number:02}", 1, group=f"g{number // 2}")
    names = {
        seed: [p.video_id for p in found_in(cache, pairs=6, seed=seed).pairs] for seed in (0, 1)
    }
    assert all(len(own) == 6 and len({int(n[1:]) // 2 for n in own}) == 3 for own in names.values())
    assert names[0] != names[1] and found_in(cache, pairs=6).found["swap", "none"] == 12
    assert len(found_in(cache, pairs=0).pairs) == 12


def test_no_crops_and_crops_of_two_settings_are_one_clear_line(cache) -> None:
    with pytest.raises(UsageError, match="no crops; extract with --pair-boxes --masks"):
        find_pairs("other", QualityConfig(str(cache)))
    (cache / "set" / "other-key").mkdir()
    with pytest.raises(UsageError, match="name one with --key: other-key, tiny-key"):
        found_in(cache)
    assert found_in(cache, key=KEY).key == KEY
    with pytest.raises(UsageError, match="no crops of key 'third'"):
        found_in(cache, key="third")

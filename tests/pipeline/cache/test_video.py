"""A cached video gives back exactly what went in, opens in plain zarr-python, and refuses what is
not as written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.support.small_videos import commit, crops_of, files_of, pictures
from unmask.pipeline.cache.bands import coefficients
from unmask.pipeline.cache.codecs import CODECS
from unmask.pipeline.cache.digest import DIGEST, write_digest
from unmask.pipeline.cache.video import is_committed, open_video, verify_video
from unmask.pipeline.cache.writing import write_video
from unmask.pipeline.errors import CacheError


@pytest.mark.parametrize("codec", CODECS)
def test_every_array_comes_back_bit_for_bit(tmp_path: Path, codec: str) -> None:
    pixels, masks = pictures(), pictures(seed=5)[..., 0].copy()
    bands = coefficients(pixels)
    folder = commit(tmp_path, pixels=pixels, bands=bands, masks=masks, codec=codec)
    video = open_video(folder)
    assert (video.shape, video.clips, video.arrays) == (
        pixels.shape,
        3,
        ("crops", "bands", "masks"),
    )
    np.testing.assert_array_equal(video.read_crops([2, 0, 2]), pixels[[2, 0, 2]])
    np.testing.assert_array_equal(video.read_bands([1]), bands[[1]])
    np.testing.assert_array_equal(video.read_masks(range(3)), masks)
    assert verify_video(folder) == []
    assert is_committed(folder)


@pytest.mark.parametrize("codec", CODECS)
def test_zarr_python_opens_it_without_our_code(tmp_path: Path, codec: str) -> None:
    pixels = pictures()
    folder = commit(tmp_path, pixels=pixels, bands=coefficients(pixels), codec=codec)
    # A fresh process that imports nothing of ours; `compact` is found through the installed entry
    # point.
    program = (
        "import sys, zarr, numpy as np\n"
        "group = zarr.open_group(sys.argv[1], mode='r')\n"
        "np.save(sys.argv[2], group['crops'][:])\n"
        "assert group['bands'].dtype == 'float16' and group.attrs['label'] == 1\n"
        "assert ('unmask.pipeline.cache.video' in sys.modules) is False\n"
    )
    saved = tmp_path / "read.npy"
    subprocess.run(
        [sys.executable, "-c", program, folder, saved], check=True, cwd=tmp_path, env=_environment()
    )
    np.testing.assert_array_equal(np.load(saved), pixels)


def _environment() -> dict[str, str]:
    """With the checkout importable, as an installed package is."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}


def test_full_size_videos_come_back_whole(tmp_path: Path) -> None:
    pixels = pictures(clips=16, frames=5, side=240)
    for codec in ("zstd", "compact"):
        video = open_video(commit(tmp_path, codec, pixels=pixels, codec=codec))
        np.testing.assert_array_equal(video.read_crops(range(16)), pixels)


def test_black_crops_are_stored_as_data(tmp_path: Path) -> None:
    folder = commit(tmp_path, pixels=np.zeros((3, 2, 32, 32, 3), np.uint8))
    assert not open_video(folder).read_crops(range(3)).any()
    assert verify_video(folder) == []


@pytest.mark.parametrize("codec", CODECS)
def test_equal_input_gives_equal_bytes(tmp_path: Path, codec: str) -> None:
    pixels = pictures(clips=7)
    one = commit(
        tmp_path / "a",
        pixels=pixels,
        bands=coefficients(pixels),
        codec=codec,
        attributes={"b": 1, "a": {"d": 2, "c": 3}},
    )
    two = commit(
        tmp_path / "b",
        pixels=pixels,
        bands=coefficients(pixels),
        codec=codec,
        attributes={"a": {"c": 3, "d": 2}, "b": 1},
    )
    assert files_of(one) == files_of(two)


def test_attributes_come_back_with_the_fields_of_the_crops(tmp_path: Path) -> None:
    strange = os.fsdecode(b"caf\xe9 \xff.mp4")  # not UTF-8: Python keeps such names with surrogates
    given = {
        "label": 1,
        "source": {"path": strange, "size": 2**53 + 1},
        "note": '"><script>\x1b[31m',
        "fps": 29.97,
    }
    attributes = open_video(commit(tmp_path, attributes=given)).attributes
    crops = crops_of(pictures())
    assert {key: attributes[key] for key in given} == given
    assert os.fsencode(attributes["source"]["path"]) == b"caf\xe9 \xff.mp4"
    np.testing.assert_array_equal(attributes["index"], crops.index)
    np.testing.assert_array_equal(attributes["pts"], crops.pts)
    np.testing.assert_array_equal(np.float32(attributes["landmark"]), crops.landmark)
    assert attributes["dropped"] == [[7, "no_face"]]


@pytest.mark.parametrize(
    ("attributes", "place"),
    [
        ({"a": [1.0, float("nan")]}, r"attributes\.a\[1\]"),
        ({"a": {"b": float("inf")}}, r"attributes\.a\.b"),
        ({"a": np.float32("-inf")}, r"attributes\.a"),
        ({"a": {1: 2}}, "not a string"),
        ({"a": {1, 2}}, "no JSON value"),
        ({"a": b"bytes"}, "no JSON value"),
        ({"index": [[1]]}, "differs from the crops"),
    ],
)
def test_attributes_that_are_no_honest_json_are_refused(
    tmp_path: Path, attributes: dict, place: str
) -> None:
    with pytest.raises(ValueError, match=place):
        commit(tmp_path, attributes=attributes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "video_id", ["", ".", "..", "../x", "a/b", ".tmp-x", "a b", "a\n", "ä", "x" * 256]
)
def test_ids_that_are_no_slugs_are_refused(tmp_path: Path, video_id: str) -> None:
    with pytest.raises(ValueError, match="slug"):
        commit(tmp_path, video_id)


def test_arrays_of_other_clips_are_refused(tmp_path: Path) -> None:
    pixels = pictures()
    for words in (
        {"bands": coefficients(pixels[:2])},
        {"bands": coefficients(pixels).astype(np.float32)},
        {"bands": np.full((3, 2, 3, 10), np.nan, np.float16)},
        {"masks": pixels},
        {"pixels": pixels[:0]},
        {"pixels": pixels[:, :, :, :30]},
        {"pixels": pixels.astype(np.int16)},
        {"codec": "lz4"},
    ):
        with pytest.raises(ValueError, match=r"expected|not all|not one of"):
            commit(tmp_path, **words)
    assert list(tmp_path.iterdir()) == []


def test_an_absent_or_empty_folder_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "absent", tmp_path / "empty"):
        assert not is_committed(folder)
        assert verify_video(folder)
        with pytest.raises(CacheError, match=folder.name):
            open_video(folder)


def test_what_was_not_extracted_is_refused_by_name(tmp_path: Path) -> None:
    video = open_video(commit(tmp_path))
    with pytest.raises(CacheError, match="no bands"):
        video.read_bands([0])
    with pytest.raises(CacheError, match="no masks"):
        video.read_masks([0])
    for clip in (3, -1):
        with pytest.raises(IndexError, match=f"clip {clip} of 3"):
            video.read_crops([clip])


# Edits of crops/zarr.json by somebody who also made the digest fit: (keys to the place, new value).
INNER = ("codecs", 0, "configuration")
FORGERIES = {
    "giant clips": (("shape",), [10**9, 2, 32, 32, 3]),
    "giant frames": (("shape",), [3, 2, 10**6, 10**6, 3]),
    "negative shape": (("shape",), [-3, 2, 32, 32, 3]),
    "fraction": (("shape",), [3.0, 2, 32, 32, 3]),
    "true": (("shape",), [True, 2, 32, 32, 3]),
    "no list": (("shape",), "3"),
    "flat": (("shape",), [3]),
    "not square": (("shape",), [3, 2, 16, 64, 3]),
    "other shape, same shard": (("shape",), [4, 2, 32, 32, 3]),
    "object dtype": (("data_type",), "object"),
    "wide dtype": (("data_type",), "uint16"),
    "white fill": (("fill_value",), 255),
    "pickle codec": ((*INNER, "codecs", 1), {"name": "numcodecs.pickle", "configuration": {}}),
    "blosc": ((*INNER, "codecs", 1), {"name": "blosc", "configuration": {}}),
    "no checksum": ((*INNER, "codecs", 1, "configuration", "checksum"), False),
    "no index checksum": (
        (*INNER, "index_codecs"),
        [{"name": "bytes", "configuration": {"endian": "little"}}],
    ),
    "index at start": ((*INNER, "index_location"), "start"),
    "other chunks": ((*INNER, "chunk_shape"), [3, 2, 32, 32, 3]),
    "other key": (("chunk_key_encoding", "configuration", "separator"), "/"),
    "other node": (("node_type",), "group"),
    "zarr 2": (("zarr_format",), 2),
    "transformer": (("storage_transformers",), [{"name": "x"}]),
    "axes": (("dimension_names",), ["a", "b", "c", "d", "e"]),
    "extra": (("extension",), {"must_understand": True}),
    "long name": (("x" * 200_000,), 1),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_metadata_that_are_not_ours_are_refused_before_any_read(
    tmp_path: Path, forgery: str
) -> None:
    folder = commit(tmp_path)
    path = folder / "crops" / "zarr.json"
    meta = json.loads(path.read_text())
    (*way, last), value = FORGERIES[forgery]
    place = meta
    for key in way:
        place = place[key]
    place[last] = value
    path.write_text(json.dumps(meta))
    _sign(folder)
    with pytest.raises(CacheError, match=r"000_003") as caught:
        open_video(folder).read_crops([0])
    assert len(str(caught.value)) < 1000 and verify_video(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"a": NaN}',
        "[" * 100_000,
        '{"zarr_format": 3, "node_type": "group"}',
        "\xff",
    ],
)
@pytest.mark.parametrize("name", ["zarr.json", "crops/zarr.json"])
def test_metadata_that_are_no_metadata_are_refused(tmp_path: Path, name: str, text: str) -> None:
    folder = commit(tmp_path)
    (folder / name).write_bytes(text.encode("latin-1"))
    _sign(folder)
    with pytest.raises(CacheError, match="000_003"):
        open_video(folder)
    assert verify_video(folder)


def test_a_digest_cannot_point_out_of_the_folder(tmp_path: Path) -> None:
    folder = commit(tmp_path)
    (tmp_path / "outside").write_bytes(b"x")
    document = json.loads((folder / DIGEST).read_text())
    document["files"]["../outside"] = document["files"]["zarr.json"]
    (folder / DIGEST).write_text(json.dumps(document))
    assert not is_committed(folder)
    with pytest.raises(CacheError, match=DIGEST):
        open_video(folder)


def test_links_and_pipes_in_place_of_files_are_refused(tmp_path: Path) -> None:
    for name in ("zarr.json", "crops/c.0.0.0.0.0", DIGEST):
        for kind in ("link", "pipe"):
            folder = commit(tmp_path, f"{kind}-{name.replace('/', '-')}")
            moved = tmp_path / "moved"
            (folder / name).replace(moved)
            (folder / name).symlink_to(moved) if kind == "link" else os.mkfifo(folder / name)
            assert not is_committed(folder)
            with pytest.raises(CacheError):
                open_video(folder).read_crops([0])


def test_a_file_too_many_is_reported_but_does_not_stop_reading(tmp_path: Path) -> None:
    folder = commit(tmp_path)
    (folder / "crops" / "notes.txt").write_text("hello")
    assert verify_video(folder) == [f"{folder}: 'crops/notes.txt' is not listed in {DIGEST}"]
    assert open_video(folder).read_crops([0]).any()


def test_a_second_writer_of_the_same_video_keeps_the_first_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    first = files_of(commit(tmp_path))
    again = commit(tmp_path, pixels=pictures(seed=9))
    assert files_of(again) == first
    assert [p.name for p in tmp_path.iterdir()] == ["000_003"]


def test_a_damaged_folder_is_neither_replaced_nor_taken_for_whole(tmp_path: Path) -> None:
    folder = commit(tmp_path)
    (folder / "crops" / "c.0.0.0.0.0").unlink()
    with pytest.raises(CacheError, match="in the way"):
        commit(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["000_003"]


def test_opening_does_not_parse_attributes_but_knows_when_they_changed(tmp_path: Path) -> None:
    folder = commit(tmp_path)
    video = open_video(folder)
    (folder / "zarr.json").write_text(
        (folder / "zarr.json").read_text().replace('"label": 1', '"label": 0')
    )
    with pytest.raises(CacheError, match=r"zarr\.json"):
        _ = video.attributes


def test_zarr_python_can_also_check_our_checksums(tmp_path: Path) -> None:
    folder = commit(tmp_path)
    path = folder / "crops" / "c.0.0.0.0.0"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises((RuntimeError, ValueError)):
        zarr.open_group(folder, mode="r")["crops"][:]


def _sign(folder: Path) -> None:
    """Make the digest fit what lies in the folder now, as a forger would."""
    (folder / DIGEST).unlink()
    write_digest(folder)


def test_unwritable_ids_are_checked_before_the_disk_is_touched(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="absent"):
        write_video(tmp_path / "absent", "a", crops_of(pictures()), None, None, {}, "zstd")

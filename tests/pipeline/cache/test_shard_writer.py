"""The shard files are, byte by byte, those that zarr-python writes for the same metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from tests.support.small_videos import crops_of, pictures
from unmask.pipeline.cache.codecs import CODECS
from unmask.pipeline.cache.video import open_video
from unmask.pipeline.cache.writing import write_video


def zarr_shard(metadata: bytes, data: np.ndarray, folder: Path) -> bytes:
    """What zarr-python makes of the data with the same metadata."""
    folder.mkdir(parents=True)
    (folder / "zarr.json").write_bytes(metadata)
    with zarr.config.set({"array.write_empty_chunks": True}):
        zarr.open_array(folder, mode="r+")[...] = data
    (shard,) = (path for path in folder.iterdir() if path.name != "zarr.json")
    return shard.read_bytes()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("clips", [1, 3, 7])
def test_shards_have_the_bytes_of_zarr_python(codec: str, clips: int, tmp_path: Path) -> None:
    crops = crops_of(pictures(clips=clips))
    crops.pixels[0] = 0  # a black clip is stored, not left out
    rng = np.random.default_rng(clips)
    bands = rng.normal(size=(*crops.pixels.shape[:2], 3, 40)).astype(np.float16)
    masks = np.where(crops.pixels[..., 0] > 90, 255, 0).astype(np.uint8)
    folder = write_video(tmp_path, "v", crops, bands, masks, {}, codec)
    group = zarr.open_group(folder, mode="r")
    for name, data in (("crops", crops.pixels), ("bands", bands), ("masks", masks)):
        assert np.array_equal(group[name][:], data)
        (shard,) = (path for path in (folder / name).iterdir() if path.name != "zarr.json")
        assert shard.read_bytes() == zarr_shard(
            (folder / name / "zarr.json").read_bytes(), data, tmp_path / name
        )
    video = open_video(folder)
    assert np.array_equal(video.read_crops(range(clips)), crops.pixels)
    assert np.array_equal(video.read_bands(range(clips)), bands)

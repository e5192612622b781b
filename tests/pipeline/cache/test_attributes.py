"""A field of a video's attributes that is forged is refused by name, wherever they were kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.tiny_cache import make_cache
from unmask.models.spec import ClipSpec
from unmask.pipeline.cache.attributes import checked_attributes
from unmask.pipeline.cache.digest import DIGEST, write_digest
from unmask.pipeline.cache.video import attributes_of, open_video
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.errors import CacheError, ManifestError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset", ["tiny"]),
        ("key", {"a": 1}),
        ("pair", 7),
        ("label", True),
        ("track", "1"),
        ("settings", []),
        ("media", "mp4"),
        ("media", {"fps": "25"}),
        ("fake_spans", [[1, 2, 3]]),
        ("fake_frames", [["a", "b"]]),
        ("index", [[0, 1, 2], [3]]),
        ("index", [[0, 1]]),
        ("pts", [["0"] * 3] * 4),
    ],
)
def test_a_forged_field_is_refused_by_name_with_right_sums(
    field: str, value: object, tmp_path: Path
) -> None:
    """With sums that are right: what reads it later would stumble over it."""
    cache, manifests = make_cache(tmp_path, {"train": 1})
    folder = cache / "tiny" / "tiny-key" / "f000"
    document = json.loads((folder / "zarr.json").read_text())
    document["attributes"][field] = value
    (folder / "zarr.json").write_text(json.dumps(document))
    (folder / DIGEST).unlink()
    write_digest(folder)
    with pytest.raises(CacheError, match=f"f000: damaged: .*{field}"):
        print(open_video(folder).attributes)
    source = ClipSource(manifests / "train.txt", cache, ClipSpec("consecutive", 3, size=32))
    with pytest.raises(CacheError, match=field):
        print(source.pairs)
    if field not in ("index", "pts"):
        with pytest.raises(ManifestError, match=f"zarr.json: damaged: .*{field}"):
            attributes_of(folder)


def test_what_a_dataset_adds_stays_as_it_is() -> None:
    values = {"dataset": "x", "pair": None, "weather": ["rain"], "fake_spans": [[0, 1.5]]}
    assert checked_attributes(values, "here", CacheError) == values

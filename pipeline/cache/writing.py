"""Write one video's Zarr v3 group: check the arrays, encode the shards, commit the folder by one
rename.

Equal input gives equal bytes. What is written is described field by field in zarr_layout.py.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.codecs import CODECS, codec_of
from unmask.pipeline.cache.digest import read_checked, read_digest, write_digest
from unmask.pipeline.cache.shard_writer import shard_parts
from unmask.pipeline.cache.video import is_committed
from unmask.pipeline.cache.zarr_layout import ARRAYS, GROUP, array_metadata, shard_name
from unmask.pipeline.disk.files import begin_sync
from unmask.pipeline.disk.folders import commit_folder
from unmask.pipeline.errors import CacheError
from unmask.pipeline.records import Crops

SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")


def write_video(
    parent: Path,
    video_id: str,
    crops: Crops,
    bands: NDArray[np.float16] | None,
    masks: NDArray[np.uint8] | None,
    attributes: dict[str, Any],
    codec: str = "zstd",
    replace: bool = False,
) -> Path:
    """Commit one video's crops and all that is known of them as `parent/video_id`, and return that
    folder.

    bands: (N, T, 3, K).
    masks: (N, T, S, S).
    attributes: JSON values, numpy arrays and numbers; the fields of `crops` (index, pts, box, ...)
        are added under their names.
    codec: zstd, compact or none, of the crops.
    replace: swap with the group that stands there; else a video that another run committed
        meanwhile is kept, and ours dropped.
    Raises CacheError (not writable, no space, a damaged folder in the way), ValueError (shapes,
    non-finite numbers).
    """
    if not SAFE_ID.fullmatch(video_id):
        raise ValueError(f"video id {video_id!r} is not a slug of [A-Za-z0-9._-]")
    if codec not in CODECS:
        raise ValueError(f"codec {codec!r} is not one of {', '.join(CODECS)}")
    arrays = _checked_arrays(crops.pixels, bands, masks)
    document = _with_crop_fields(plain_values(attributes, "attributes"), crops)
    target = parent / video_id

    def fill(folder: Path) -> None:
        _write_group(folder, arrays, document, codec)
        write_digest(folder)

    needed = sum(array.nbytes for array in arrays.values())
    if not commit_folder(target, fill, needed, replace) and not is_committed(target):
        raise CacheError(
            f"{target}: a damaged folder is in the way; `verify --repair` makes the video again"
        )
    return target


def replace_attributes(folder: Path, changes: dict[str, Any]) -> None:
    """Swap a committed group for one with other attributes and the same arrays.

    changes: attributes with their new values.
    Raises CacheError when the group is damaged or the disk refuses.
    """
    files = read_digest(folder)
    group = read_checked(folder, GROUP, files[GROUP])
    attributes = {**group["attributes"], **plain_values(changes, "attributes")}
    document = {**group, "attributes": dict(sorted(attributes.items()))}

    def fill(temporary: Path) -> None:
        for name in files.keys() - {GROUP}:
            (temporary / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, temporary / name)
        (temporary / GROUP).write_text(json.dumps(document, indent=2))
        # Of the copies the old sums are kept: damage that is there must not become the truth.
        write_digest(temporary, {name: files[name] for name in files if name != GROUP})

    needed = sum(facts["size"] for facts in files.values())
    commit_folder(folder, fill, needed, replace=True)


def _checked_arrays(
    crops: NDArray[np.uint8], bands: NDArray[np.float16] | None, masks: NDArray[np.uint8] | None
) -> dict[str, NDArray]:
    """The arrays to write. Raises ValueError where they do not describe the same clips."""
    clips, frames, side = crops.shape[:3]
    wanted = {"crops": (clips, frames, side, side, 3), "masks": (clips, frames, side, side)}
    if bands is not None:
        wanted["bands"] = (clips, frames, 3, bands.shape[-1])
    arrays = {
        n: a for n, a in (("crops", crops), ("bands", bands), ("masks", masks)) if a is not None
    }
    for name, array in arrays.items():
        if array.shape != wanted[name] or array.dtype != ARRAYS[name][0] or not array.size:
            raise ValueError(
                f"{name}: expected {wanted[name]} {ARRAYS[name][0]}, got {array.shape} "
                f"{array.dtype}"
            )
    # Largest where all exponent bits are set; numpy's isfinite takes 3 ms for the float16 of a
    # video.
    if bands is not None and (bands.view(np.uint16) & 0x7FFF).max() >= 0x7C00:
        raise ValueError("bands: not all coefficients are finite numbers")
    return arrays


def _with_crop_fields(attributes: dict[str, Any], crops: Crops) -> dict[str, Any]:
    """Attributes with every field of the crops but their pixels. Raises ValueError where a caller
    says otherwise.
    """
    fields = {
        name: plain_values(value, name) for name, value in vars(crops).items() if name != "pixels"
    }
    for name in fields.keys() & attributes.keys():
        if attributes[name] != fields[name]:
            raise ValueError(f"attributes.{name} differs from the crops' own {name}")
    return dict(sorted({**fields, **attributes}.items()))


def plain_values(value: Any, where: str) -> Any:
    """`value` as JSON values with sorted keys. Raises ValueError naming the place of a number that
    is not finite.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError(f"{where}: a key is not a string")
        return {key: plain_values(value[key], f"{where}.{key}") for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [plain_values(item, f"{where}[{place}]") for place, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: {value} is not a finite number")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{where}: {type(value).__name__} is no JSON value")


def _write_group(
    folder: Path, arrays: dict[str, NDArray], attributes: dict[str, Any], codec: str
) -> None:
    group = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
    (folder / GROUP).write_text(json.dumps(group, indent=2))
    for name, data in arrays.items():
        write_array(folder, name, data, codec)


def write_array(folder: Path, name: str, data: NDArray, codec: str) -> None:
    """Metadata and shard of one array into a group's folder that is not yet committed."""
    (folder / name).mkdir()
    (folder / name / GROUP).write_bytes(array_metadata(name, data.shape, codec))
    with open(folder / shard_name(name), "xb") as file:
        file.writelines(shard_parts(data, codec_of(name, codec).encode))
        begin_sync(file)

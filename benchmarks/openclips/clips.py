"""The list of clips and the folder that holds some of them: what is there, cut to its panel."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.errors import UsageError, VideoError
from unmask.pipeline.extraction.crops import read_crops
from unmask.pipeline.records import Crops, VideoInfo

LIST = Path(__file__).with_name("clips.csv")
# The crops that baselines look at: eight frames of the main person.
CROP = CropConfig(clips=8, frames=1, size=240, bands=False)


@dataclass(frozen=True)
class Clip:
    """One row of the list.

    pair: clips that come from one file share it; "" for the others.
    counts: may speak for the gate.
    panel: (left, right) of the picture's width that shows this clip, (0, 1) for all of it.
    width: of the clip once cut, px: a file of this width was cut already.
    """

    file: str
    fake: bool
    kind: str
    group: str
    pair: str
    counts: bool
    panel: tuple[float, float]
    width: int


@dataclass(frozen=True)
class Seen:
    """A clip that was found and has a face.

    size: of the file, bytes.
    """

    clip: Clip
    path: Path
    info: VideoInfo
    crops: Crops
    size: int


def read_list(path: Path = LIST) -> list[Clip]:
    """Raises: UsageError naming the line that is not of the list's form."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    clips = []
    for number, row in enumerate(rows, 2):
        try:
            left, right = (float(word) for word in (row["panel"] or "0 1").split())
            if row["label"] not in ("real", "fake") or not 0 <= left < right <= 1:
                raise ValueError(f"label {row['label']!r} or panel {row['panel']!r}")
            clips.append(
                Clip(
                    row["file"],
                    row["label"] == "fake",
                    row["kind"],
                    row["group"],
                    row["pair"],
                    row["counts"] == "yes",
                    (left, right),
                    int(row["width"]),
                )
            )
        except (KeyError, ValueError, TypeError) as error:
            raise UsageError(f"{path}:{number}: not a clip of the list ({error})") from error
    return clips


def find_files(clips: Sequence[Clip], folder: Path) -> dict[str, Path]:
    """Name of a listed clip -> its file anywhere below the folder. Raises UsageError for none."""
    below = {path.name: path for path in sorted(folder.rglob("*")) if path.is_file()}
    found = {clip.file: below[clip.file] for clip in clips if clip.file in below}
    if not found:
        raise UsageError(f"{folder}: none of the {len(clips)} listed clips is in it")
    return found


def in_panel(clip: Clip, width: int, box: NDArray) -> bool:
    """Whether a face lies in the clip's panel of a picture of this width; everything does once the
    file was cut to the panel.
    """
    if clip.panel == (0, 1) or width <= 1.2 * clip.width:
        return True
    left, right = clip.panel
    return bool(left <= (box[0] + box[2]) / 2 / width < right)


def look(clip: Clip, path: Path) -> Seen | None:
    """The clip's main person in its panel; None where no face is found or the file is unreadable.

    Other panels are left out by the place of the face: cutting the picture would encode it again.
    """
    whole = clip.panel == (0, 1)
    crop = CROP if whole else CropConfig(**{**CROP.__dict__, "faces": "all"})
    try:
        info, people = read_crops(path, ExtractConfig(crop=crop))
    except VideoError:
        return None
    inside = [one for one in people if in_panel(clip, info.width, np.median(one.box, axis=0))]
    return Seen(clip, path, info, inside[0], path.stat().st_size) if inside else None

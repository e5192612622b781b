"""Every pair measured, one after the other: a row of numbers each, kept so that a run that was
stopped goes on, and ends in the bytes of one that was not.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.cache.digest import DIGEST, canonical, file_sha256
from unmask.pipeline.cache.video import CachedVideo, open_video
from unmask.pipeline.config import QualityConfig
from unmask.pipeline.disk.files import json_lines, write_whole
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import CacheError
from unmask.pipeline.quality import masks
from unmask.pipeline.quality.networks import Network
from unmask.pipeline.quality.pairs import Pair
from unmask.pipeline.quality.perceptual import perceptual_distance
from unmask.pipeline.quality.similarity import dilated, mask_ssim
from unmask.pipeline.quality.warping import Flow, motion_of, warp_errors

log = logging.getLogger(__name__)

# Raise when the same pixels and settings give other numbers.
FORMAT = 1
MAX_LINE = 2**16
# Seconds between two writings of what is done.
KEPT_EVERY = 30.0
# Px by which the mask of a frame grows for the warping error, so that its seam counts.
SEAM = 5

Values = dict[str, float | None]


@dataclass(frozen=True)
class Tools:
    """flow: of the warping error; flow_mark: what identifies it. networks: of the perceptual
    distance.
    """

    flow: Flow
    flow_mark: str
    networks: tuple[Network, ...] = ()


@dataclass(frozen=True)
class Measured:
    """The numbers of one pair, means over frames of a clip and over clips.

    of: what identifies crops and settings. mask: its definition.
    clips, frames: that were compared. unmasked: frames with an empty mask, which Mask-SSIM leaves
        out. whole_face: frames whose difference mask was empty or everywhere, with the face's.
    values: by name; None where no frame has one.
    """

    of: str
    video_id: str
    method: str
    compression: str
    group: str
    mask: str
    clips: int
    frames: int
    unmasked: int
    whole_face: int
    values: Values

    @property
    def kind(self) -> tuple[str, str]:
        """Method and compression: what is rated together."""
        return self.method, self.compression


def mask_definition(pairs: Sequence[Pair], asked: str) -> str:
    """Of the pairs of one method: a table never mixes definitions."""
    if asked != "auto":
        return asked
    return masks.PUBLISHED if all(pair.masks for pair in pairs) else masks.DIFFERENCE


def measure_all(
    pairs: Sequence[Pair],
    config: QualityConfig,
    tools: Tools,
    kept: Path,
    progress: Callable[[], None] = lambda: None,
) -> tuple[list[Measured], list[tuple[Pair, str]]]:
    """(a row for each pair, pairs that cannot be read with the reason), in the order of `pairs`.

    kept: rows of an earlier run, which are taken over where crops and settings are the same; ends
        with the rows of this one.
    Raises DiskError when the file system refuses.
    """
    by_kind: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_kind[pair.kind].append(pair)
    mask = {kind: mask_definition(own, config.mask) for kind, own in by_kind.items()}
    known = _kept(kept)
    rows: list[Measured] = []
    unread: list[tuple[Pair, str]] = []
    written = time.monotonic()
    for pair in pairs:
        try:
            mark = _mark(pair, mask[pair.kind], config, tools)
            rows.append(known.get(mark) or _measured(pair, mark, mask[pair.kind], config, tools))
        except (CacheError, OSError) as error:
            unread.append((pair, str(error)))
        progress()
        if time.monotonic() - written > KEPT_EVERY:
            done = {row.of for row in rows}
            _keep(kept, [*rows, *(row for row in known.values() if row.of not in done)])
            written = time.monotonic()
    _keep(kept, rows)
    return rows, unread


def _mark(pair: Pair, mask: str, config: QualityConfig, tools: Tools) -> str:
    """sha256 of everything that decides a row."""
    decides = {
        "format": FORMAT,
        "crops": [file_sha256(folder / DIGEST) for folder in (pair.fake, pair.original)],
        "clips": pair.clips,
        "mask": mask,
        "ssim": config.ssim,
        "erode": config.erode,
        "flow": [config.flow, tools.flow_mark],
        "networks": [[network.name, network.fingerprint] for network in tools.networks],
    }
    return hashlib.sha256(canonical(decides).encode()).hexdigest()


def _kept(path: Path) -> dict[str, Measured]:
    try:
        rows = [
            _row(row, f"{path}:{number}") for number, row in json_lines(path, MAX_LINE, CacheError)
        ]
    except CacheError as error:  # of another version, or not ours: measured again
        log.warning("%s; its pairs are measured again", error)
        return {}
    return {row.of: row for row in rows}


def _row(found: object, where: str) -> Measured:
    row = record_of(Measured, found, where, CacheError)
    numbers = [value for value in row.values.values() if value is not None]
    if "mask_ssim" not in row.values or not all(type(v) in (int, float) for v in numbers):
        raise CacheError(f"{where}: damaged: its values are no numbers")
    return row


def _keep(path: Path, rows: Sequence[Measured]) -> None:
    text = "".join(json.dumps(asdict(row), allow_nan=False) + "\n" for row in rows)
    write_whole(path, text.encode())


def _measured(pair: Pair, mark: str, mask: str, config: QualityConfig, tools: Tools) -> Measured:
    """Raises CacheError for crops that are damaged."""
    fake, original = open_video(pair.fake), open_video(pair.original)
    clips: list[Values] = []
    unmasked = whole_face = frames = 0
    for mine, theirs in pair.clips:
        forged, true = fake.read_crops([mine])[0], original.read_crops([theirs])[0]
        inside, fallbacks = clip_masks(mask, fake, original, (mine, theirs), true, forged)
        whole_face += fallbacks
        unmasked += int((~inside.any(axis=(1, 2))).sum())
        frames += len(forged)
        steps = np.diff(fake.frame_numbers[mine])
        clips.append(_clip(true, forged, inside, steps, config, tools))
    values = {name: _mean([clip[name] for clip in clips]) for name in clips[0]}
    return Measured(
        of=mark,
        video_id=pair.video_id,
        method=pair.method,
        compression=pair.compression,
        group=pair.group,
        mask=mask,
        clips=len(clips),
        frames=frames,
        unmasked=unmasked,
        whole_face=whole_face,
        values=values,
    )


def clip_masks(
    mask: str,
    fake: CachedVideo,
    original: CachedVideo,
    clip: tuple[int, int],
    true: NDArray[np.uint8],
    forged: NDArray[np.uint8],
) -> tuple[NDArray[np.bool_], int]:
    """(T, S, S) of one clip by a definition, and how many frames of a difference mask had to take
    the face's.

    clip: of the fake and of the original. true, forged: (T, S, S, 3) of both.
    """
    if mask == masks.PUBLISHED:
        return fake.read_masks([clip[0]])[0] > 127, 0
    place = (original.landmarks[clip[1]], original.transforms[clip[1]])
    face = masks.face_mask(*place, true.shape[1])
    if mask == masks.FACE:
        return np.broadcast_to(face, true.shape[:3]), 0
    found = [masks.difference_mask(*frames) for frames in zip(true, forged, strict=True)]
    inside = np.stack([face if one is None else one for one in found])
    return inside, sum(one is None for one in found)


def _clip(
    true: NDArray[np.uint8],
    forged: NDArray[np.uint8],
    inside: NDArray[np.bool_],
    steps: NDArray[np.int64],
    config: QualityConfig,
    tools: Tools,
) -> Values:
    """The means of one clip.

    true, forged: (T, S, S, 3). inside: (T, S, S). steps: (T - 1,) between frame numbers.
    """
    whole = np.ones(inside.shape[1:], bool)
    frames = list(zip(true, forged, inside, strict=True))
    found: dict[str, list[float | None]] = {
        "mask_ssim": [mask_ssim(a, b, m, config.ssim, config.erode) for a, b, m in frames],
        "crop_ssim": [mask_ssim(a, b, whole) for a, b, _ in frames],
        "mask_share": [float(m.mean()) for m in inside],
    }
    for name in WARPS:
        found[name], found[f"crop_{name}"] = [], []
    found["visible"] = []
    for t in np.flatnonzero(steps == 1):
        own = motion_of(tools.flow, forged[t], forged[t + 1])
        its = motion_of(tools.flow, true[t], true[t + 1])
        found["visible"].append(float(own.visible.mean()))
        regions = (dilated(inside[t], SEAM), whole)
        for name, video, moves in zip(WARPS, (true, forged, forged), (its, own, its), strict=True):
            errors = warp_errors(video[t], video[t + 1], moves, regions)
            found[name].append(errors[0])
            found[f"crop_{name}"].append(errors[1])
    values = {name: _mean(list_of) for name, list_of in found.items()}
    for start in ("", "crop_"):
        fake, original = values[f"{start}warp_fake"], values[f"{start}warp_original"]
        known = fake is not None and original is not None
        values[f"{start}warp_excess"] = fake - original if known else None
    for network in tools.networks:
        distance = perceptual_distance(network, true, forged, inside)
        values[network.name] = _mean(distance.crop.tolist())
        values[f"{network.name} masked"] = _mean(distance.masked.tolist())
    return values


# Of the original, of the fake with its own flow, of the fake with the flow of its original.
WARPS = ("warp_original", "warp_fake", "warp_fixed")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None

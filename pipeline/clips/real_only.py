"""A manifest whose reals alone are read: each stands there twice, as it is and as the fake that is
made of it.

Videos 2k and 2k + 1 are the real and the self-blended half of the same cached video. Both halves of
a pair carry one seed; what is drawn of the paste comes from numbers of its own, so that it shifts
nothing that both share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unmask.models.recipes.blends import BLEND_VERSION, BlendSpec
from unmask.models.spec import ClipSpec
from unmask.pipeline.clips.face_hull import USUAL_MARGIN
from unmask.pipeline.clips.hdf5 import Export
from unmask.pipeline.clips.readers import find_videos
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.clips.self_blend import real_half, self_blend
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.errors import UsageError
from unmask.pipeline.manifests.checked import Manifest
from unmask.pipeline.records import FAKE, REAL

# Boxes (N, 4) and landmarks (N, 5, 2) of a video's clips, px of the crop; None where unknown.
Places = tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]


class RealOnly(ClipSource):
    """The reals of a manifest and the fakes that are made of them; no fake entry is ever read.

    blend: how they are made.
    left_out: fake entries of the manifest.
    Raises as ClipSource, and UsageError where the settings leave no kind of mask.
    """

    fakes = "self"

    def __init__(
        self,
        manifest: Path | Manifest | Export,
        cache_root: Path,
        spec: ClipSpec,
        blend: BlendSpec,
        *,
        allow_missing: bool = False,
    ) -> None:
        if not blend.kinds:
            raise UsageError("blend.kinds names no part of the face; leave it out for all of them")
        if isinstance(manifest, Path):
            manifest = find_videos(manifest, Path(cache_root), allow_missing, reals_only=True)
        if FAKE in {entry.label for entry in manifest.entries}:
            raise ValueError("find the videos with reals_only, so that no fake is looked at")
        super().__init__(manifest, cache_root, spec, bands="computed")
        self.blend, self.left_out = blend, manifest.left_out
        if self.left_out:
            self.warnings = (
                *self.warnings,
                f"{self.path}: {self.left_out} fake videos are left out; the fakes are made of the "
                f"{len(self.entries)} real ones",
            )
        settings = self.readers[0].attributes.get("settings")
        margin = settings.get("margin") if isinstance(settings, dict) else None
        if isinstance(margin, int | float) and margin < USUAL_MARGIN:
            self.warnings = (
                *self.warnings,
                f"{self.path}: crops of margin {margin:g} end where faces do, so that many pasted "
                f"outlines are cut by the border; extract with --margin {USUAL_MARGIN:g} or more",
            )
        self.entries = tuple(
            replace(entry, label=label) for entry in self.entries for label in (REAL, FAKE)
        )
        self.readers = [reader for reader in self.readers for _ in range(2)]
        self.labels = np.array([entry.label for entry in self.entries], np.int64)
        self._places: dict[int, Places] = {}

    @property
    def videos(self) -> int:
        return len(self.entries) // 2

    @property
    def pairs(self) -> list[int | None]:
        return [video - 1 if video % 2 else None for video in range(len(self.entries))]

    @property
    def truth(self) -> list[NDArray[np.int64] | None]:
        return [None] * len(self.entries)

    def facts(self) -> dict[str, object]:
        counts = {"videos": self.videos, "real": self.videos, "fake": 0, "left_out": self.left_out}
        settings = {"version": BLEND_VERSION, **asdict(self.blend)}
        return {**super().facts(), **counts, "fakes": self.fakes, "blend": settings}

    def rows_to_read(self, samples: Sequence[Sample], rows: range) -> Iterable[int]:
        """All but the second halves of pairs, which are made of the first."""
        return [row for row in rows if row == rows.start or not _is_pair(samples, row - 1)]

    def finish(
        self, samples: Sequence[Sample], pixels: Tensor | None, masks: Tensor | None, rows: range
    ) -> None:
        """Make rows what they stand for: real halves, fakes and their masks. A half whose other
        half another thread or process makes is the same to the last bit.
        """
        assert pixels is not None, "a source that computes its bands always reads pixels"
        for row in self.rows_to_read(samples, rows):
            sample, frames = samples[row], pixels[row].numpy()  # (T,S,S,3)
            if sample.video % 2:
                halves = {FAKE: row}
            elif row + 1 < rows.stop and _is_pair(samples, row):
                halves = {REAL: row, FAKE: row + 1}
            else:
                frames[:] = real_half(frames, self._numbers(sample), self.blend)
                continue
            real, fake, mask = self._pair(sample, frames)
            if REAL in halves:
                frames[:] = real.transpose(0, 2, 3, 1)
            pixels[halves[FAKE]].numpy()[:] = fake.transpose(0, 2, 3, 1)
            if masks is not None:
                masks[halves[FAKE]].numpy()[:] = self._target(mask[:, 0])

    def _pair(self, sample: Sample, frames: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        clips = sample.clips
        boxes, points = self._placed(sample.video)
        parts = np.array([clips.index(clip) for clip, _ in sample.picks])
        return self_blend(
            frames.transpose(0, 3, 1, 2),
            None if boxes is None else boxes[list(clips)],
            None if points is None else points[list(clips)],
            self._numbers(sample),
            self.blend,
            parts,
        )

    def _target(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What a mask head learns, (T, S, S) uint8."""
        if self.blend.mask != "edge":
            return mask
        m = mask.astype(np.float32) / 255
        return np.rint(255 * 4 * m * (1 - m)).astype(np.uint8)

    def _numbers(self, sample: Sample) -> np.random.Generator:
        """The random numbers of a pair's paste, the same for both halves."""
        own = [sample.video // 2, *sample.picks[0]] if sample.seed is None else [sample.seed]
        return np.random.default_rng([*own, 1])

    def _placed(self, video: int) -> Places:
        number = video // 2
        if number not in self._places:
            self._places[number] = places_of(self.readers[video].attributes, self.shapes[video][0])
        return self._places[number]


def _is_pair(samples: Sequence[Sample], row: int) -> bool:
    """Whether a row and the next are the two halves of one pair."""
    first, second = samples[row], samples[row + 1]
    return first.video % 2 == 0 and second == replace(first, video=first.video + 1)


def places_of(attributes: Mapping[str, Any], clips: int) -> Places:
    """Boxes (N, 4) and landmarks (N, 5, 2) of the cached clips in px of their crops, None for what
    the attributes do not say or say otherwise.

    The crop stands upright where the frame may not: a box keeps its size and its centre is moved.
    """
    try:
        matrix = np.array(attributes["transform"], np.float64).reshape(clips, 2, 3)
        box = np.array(attributes["box"], np.float64).reshape(clips, 2, 2)
        points = np.array(attributes["landmark"], np.float64).reshape(clips, 5, 2)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None, None
    turn, move = matrix[:, :, :2], matrix[:, :, 2]
    scale = np.sqrt(np.abs(np.linalg.det(turn)))[:, None]
    centre = np.einsum("nij,nj->ni", turn, box.mean(1)) + move
    half = scale * (box[:, 1] - box[:, 0]) / 2
    moved = np.einsum("nij,nkj->nki", turn, points) + move[:, None]
    return np.concatenate([centre - half, centre + half], 1), moved

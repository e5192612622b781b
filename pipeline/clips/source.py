"""The videos of one manifest: their folders checked, their labels, and which samples they give.

`manifest` is a text manifest, a Manifest already read, or an exported FILE.h5. batches.py reads the
clips.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from unmask.models.spec import ClipSpec
from unmask.pipeline.cache.clip_reader import ClipReader
from unmask.pipeline.clips.frame_labels import clip_label, frame_labels
from unmask.pipeline.clips.hdf5 import Export
from unmask.pipeline.clips.readers import find_videos, open_reader
from unmask.pipeline.clips.samples import Sample, evaluation_picks, mode_of
from unmask.pipeline.clips.stored_bands import BandsFrom, no_stored_bands
from unmask.pipeline.errors import CacheError
from unmask.pipeline.manifests.checked import Manifest
from unmask.pipeline.records import FAKE, Entry

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)


class ClipSource:
    """The videos of one manifest, as the model's samples are taken from them.

    entries, readers, labels (of whole videos): one per usable video, in manifest order.
    missing: entries without a cache folder.
    sha256: of the manifest.
    key: cache key of the pixels.
    side: of the cached crops, px.
    stored_bands: whether the model's bands are made from the cached coefficients while the pixels
        are used as they are cached; `bands` asks for it (cached), against it (computed), or for it
        where it can be (auto).
    fakes: where they come from: the manifest, or (real_only.py) the reals themselves.
    idle_buffers: memory of the last plan's batches, for the next.
    Raises ManifestError for bad lines and folders that are missing (unless `allow_missing`),
    CacheError for folders that are damaged, of unequal shape, without the masks the model's loss
    wants, or without the coefficients that `bands` asks for.
    """

    fakes: Literal["manifest", "self"] = "manifest"

    def __init__(
        self,
        manifest: Path | Manifest | Export,
        cache_root: Path,
        spec: ClipSpec,
        *,
        allow_missing: bool = False,
        bands: BandsFrom = "auto",
    ) -> None:
        found = (
            manifest
            if isinstance(manifest, Manifest | Export)
            else find_videos(manifest, Path(cache_root), allow_missing)
        )
        self.path, self.sha256, self.key, self.spec = found.path, found.sha256, found.key, spec
        self.entries: tuple[Entry, ...] = found.entries
        self.readers: list[ClipReader]
        self.missing: tuple[Entry, ...] = ()
        self.warnings: tuple[str, ...] = ()
        if isinstance(found, Export):
            self.readers = list(found.videos)
        else:
            self.readers = [open_reader(folder) for folder in found.folders]
            self.missing, self.warnings = found.missing, found.warnings
        self.labels = np.array([entry.label for entry in self.entries], np.int64)
        self.length, self.side = self._common_shape()
        self.stored_bands = bands != "computed" and self._has_bands(needed=bands == "cached")
        self.idle_buffers: list[Any] = []

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def videos(self) -> int:
        """Videos that are read."""
        return len(self.entries)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(clips, frames in a clip) of each video."""
        return [(clips, frames) for clips, frames, *_ in (r.shape for r in self.readers)]

    @cached_property
    def pairs(self) -> list[int | None]:
        """For each fake, the position of the real video it was made from, where that is in the
        manifest too.
        """
        place = {
            (reader.attributes.get("dataset"), reader.attributes.get("key")): number
            for number, reader in enumerate(self.readers)
            if self.entries[number].label != FAKE
        }
        return [
            place.get((reader.attributes.get("dataset"), reader.attributes.get("pair")))
            if entry.label == FAKE and reader.attributes.get("pair")
            else None
            for entry, reader in zip(self.entries, self.readers, strict=True)
        ]

    @cached_property
    def truth(self) -> list[NDArray[np.int64] | None]:
        """Per video the (clips, frames) labels of its frames where it is fake in parts only, else
        None.
        """
        found = [
            frame_labels(reader.attributes, FAKE) if label == FAKE else None
            for reader, label in zip(self.readers, self.labels.tolist(), strict=True)
        ]
        partly = [own for own in found if own is not None]
        if missed := sum((own != FAKE).all() for own in partly):
            log.warning(
                "%s: %d of %d partly fake videos have no clip inside their fake spans; extract "
                "with more --clips",
                *(self.path, missed, len(partly)),
            )
        return found

    def label_of(self, sample: Sample) -> int:
        """Label of one sample: of a partly fake video it is fake only where its frames are."""
        return clip_label(self.truth[sample.video], int(self.labels[sample.video]), sample.picks)

    def rows_to_read(self, samples: Sequence[Sample], rows: range) -> Iterable[int]:
        """Rows of a batch that are read before `finish`: here all."""
        return rows

    def finish(
        self, samples: Sequence[Sample], pixels: Tensor | None, masks: Tensor | None, rows: range
    ) -> None:
        """What is still to be done to rows of a batch that were just read: nothing here."""

    def evaluation_samples(self, per_video: int = 0) -> list[Sample]:
        """All samples of all videos in manifest order; `per_video` > 0 keeps that many, spread
        over the video.
        """
        samples = []
        for video, shape in enumerate(self.shapes):
            picks = evaluation_picks(self.spec, *shape)
            if 0 < per_video < len(picks):
                picks = [
                    picks[i] for i in np.rint(np.linspace(0, len(picks) - 1, per_video)).astype(int)
                ]
            samples += [Sample(video, chosen) for chosen in picks]
        return samples

    def facts(self) -> dict[str, object]:
        """What run.json says of the manifest."""
        fakes = int((self.labels == FAKE).sum())
        counts = {
            "videos": len(self),
            "real": len(self) - fakes,
            "fake": fakes,
            "missing": len(self.missing),
        }
        settings = self.readers[0].attributes.get("settings")  # predict cuts its crops by these
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "key": self.key,
            "settings": settings,
            **({"bands": "cached" if self.stored_bands else "computed"} if self.spec.bands else {}),
            **counts,
        }

    def _has_bands(self, needed: bool) -> bool:
        """Whether every video holds the coefficients of the model's bands. Raises CacheError where
        they are needed and are not there.
        """
        reason = no_stored_bands(self.spec, self.readers)
        if reason and needed:
            raise CacheError(f"{self.path}: {reason}; leave out --bands cached")
        return not reason

    def _common_shape(self) -> tuple[int, int]:
        first = self.readers[0].shape
        for entry, reader in zip(self.entries, self.readers, strict=True):
            if reader.shape[1:] != first[1:]:
                raise CacheError(
                    f"{self.path}:{entry.line}: {entry.folder} has clips of {reader.shape[1:]}, "
                    "the first video "
                    f"{first[1:]}; a manifest must come from one cache key"
                )
            if self.spec.masks and entry.label == FAKE and "masks" not in reader.arrays:
                raise CacheError(
                    f"{entry.folder} has no masks and the loss wants them; extract with --masks"
                )
            mode_of(self.spec).check(self.spec.frames, *reader.shape[:2])
        return int(first[1]), int(first[2])

"""What a folder named in a manifest may be: a cached video, an exported one, or a folder of
pictures; one way to read.
"""

from __future__ import annotations

from pathlib import Path

from unmask.pipeline.cache.clip_reader import ClipReader
from unmask.pipeline.cache.video import GROUP_FILE, open_video
from unmask.pipeline.clips.hdf5 import Export, is_export, open_export
from unmask.pipeline.clips.picture_folder import PictureClips
from unmask.pipeline.manifests.checked import Manifest, read_manifest
from unmask.pipeline.records import FAKE, REAL


def find_videos(
    path: Path, cache_root: Path, allow_missing: bool = False, *, reals_only: bool = False
) -> Manifest | Export:
    """What a text manifest or an exported file names, checked.

    reals_only: the folders of fakes are not even looked at; `left_out` counts them.
    Raises ManifestError, CacheError.
    """
    if not is_export(path):
        only = REAL if reals_only else None
        return read_manifest(path, cache_root, allow_missing=allow_missing, only=only)
    found = open_export(path)
    return found.of_label(REAL) if reals_only else found


def open_reader(folder: Path) -> ClipReader:
    """A committed cache folder, or a plain folder of pictures. Raises CacheError for anything
    damaged.
    """
    return open_video(folder) if (folder / GROUP_FILE).is_file() else PictureClips(folder)


def all_fakes_have_masks(found: Manifest | Export) -> bool:
    """Whether a loss on manipulation masks can use every fake of a list, of which there is one at
    least. Raises CacheError for a damaged folder.
    """
    if isinstance(found, Export):
        readers = list(found.videos)
    else:
        readers = [open_reader(folder) for folder in found.folders]
    fakes = [
        reader for reader, entry in zip(readers, found.entries, strict=True) if entry.label == FAKE
    ]
    return bool(fakes) and all("masks" in reader.arrays for reader in fakes)

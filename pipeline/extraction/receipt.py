"""What may be published of a cache: which bytes went in and which pixels came out, without a face.

Two people whose receipts are equal trained on the same pixels. One line for the settings, then one
a video in the order of names: sha256 of its file and of every crop, frame numbers, boxes. Nothing
of the machine stands in it, so equal caches give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from unmask.pipeline.cache.index import read_index
from unmask.pipeline.cache.video import CachedVideo, open_video
from unmask.pipeline.cache.writing import SAFE_ID
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.disk.files import json_lines, write_whole
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import CacheError, ManifestError, UsageError
from unmask.pipeline.extraction.reference import reference_of
from unmask.pipeline.extraction.resume import content_hash
from unmask.pipeline.extraction.run import cache_folder, extract
from unmask.pipeline.manifests.checked import PICTURES_KEY, Manifest
from unmask.pipeline.records import Outcome, Video
from unmask.pipeline.sources.listing import list_media, stem_of

FORMAT, MAX_LINE = 1, 2**24
OTHER_BYTES = "its file has other bytes than the receipt's"


@dataclass(frozen=True)
class Head:
    """dataset and key: of the cache folder. settings: what decided the pixels."""

    format: int
    dataset: str
    key: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One cached video.

    name: of its folder. label: as in the manifest.
    video: what the adapter knew of it, without the places of its files.
    source, mask: sha256 of the files' bytes; "" for no mask. bytes: size of the source.
    index: (N, T) frame numbers. box: (N, 4) px. crops: sha256 of each clip's decoded pixels (T, S,
        S, 3) uint8, whatever codec stores them.
    """

    name: str
    label: int
    video: dict[str, Any]
    source: str
    bytes: int
    mask: str
    index: tuple[tuple[int, ...], ...]
    box: tuple[tuple[float, ...], ...]
    crops: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """One video of a receipt, made again. reason: why it could not be, or that its file is
    another one; else "".

    equal, different: numbers of the clips whose pixels are the receipt's, and of the others
    (absent ones among them).
    """

    name: str
    equal: tuple[int, ...] = ()
    different: tuple[int, ...] = ()
    reason: str = ""


def receipt_of(manifest: Manifest, progress: Callable[[], None] = lambda: None) -> bytes:
    """The receipt of a manifest's videos.

    Raises UsageError for folders of pictures, which no settings made; CacheError for a damaged
    video or index.
    """
    if manifest.key == PICTURES_KEY or not manifest.folders:
        raise UsageError(f"{manifest.path}: its entries are no cached videos; there is no receipt")
    parents = {folder.parent for folder in manifest.folders}
    if len(parents) > 1:
        raise UsageError(f"{manifest.path}: of several data sets; a receipt is of one")
    (parent,) = parents
    index = read_index(parent)
    known = {video.key: video for video in index.videos}
    rows = []
    for entry, folder in zip(manifest.entries, manifest.folders, strict=True):
        video = open_video(folder)
        found = known.get(video.key)
        if found is None:
            raise CacheError(f"{folder}: the index of its cache does not know {video.key!r:.80}")
        rows.append(_row(video, found, entry.label))
        progress()
    head = Head(FORMAT, parent.parent.name, parent.name, dict(index.settings))
    lines = [asdict(head), *(asdict(row) for row in sorted(rows, key=lambda row: row.name))]
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines).encode()


def _row(cached: CachedVideo, video: Video, label: int) -> Row:
    attributes = cached.attributes
    plain = {name: value for name, value in asdict(video).items() if name not in ("path", "mask")}
    mask, size = attributes.get("mask_file") or {}, (attributes.get("file") or {}).get("size")
    return Row(
        name=cached.folder.name,
        label=label,
        video=plain,
        source=cached.source_sha256,
        bytes=size if isinstance(size, int) else 0,
        mask=str(mask.get("sha256") or ""),
        index=tuple(map(tuple, cached.frame_numbers.tolist())),
        box=tuple(map(tuple, cached.boxes.tolist())),
        crops=crop_hashes(cached),
    )


def crop_hashes(cached: CachedVideo) -> tuple[str, ...]:
    """sha256 of every clip's pixels, one clip in memory at a time."""
    return tuple(
        hashlib.sha256(cached.read_crops([clip]).tobytes()).hexdigest()
        for clip in range(cached.clips)
    )


def write_receipt(path: Path, data: bytes) -> str:
    """Write it whole; returns its sha256."""
    write_whole(path, data)
    return hashlib.sha256(data).hexdigest()


def read_receipt(path: Path) -> tuple[Head, list[Row]]:
    """Raises ManifestError naming the line that is no line of a receipt."""
    head, rows = None, []
    for number, line in json_lines(path, MAX_LINE, ManifestError):
        where = f"{path}:{number}"
        if head is None:
            head = record_of(Head, line, where, ManifestError)
            if head.format != FORMAT:
                raise ManifestError(f"{where}: of a format this version does not read")
            names = (head.dataset,)
        else:
            rows.append(record_of(Row, line, where, ManifestError))
            # Names of folders: nothing leads out of the cache.
            names = (rows[-1].name, str(rows[-1].video.get("video_id")))
        if not all(SAFE_ID.fullmatch(name) for name in names):
            raise ManifestError(f"{where}: {names!r:.100} are no safe names")
        if rows and rows[-1].video.get("dataset") != head.dataset:
            raise ManifestError(f"{where}: a video of another data set than {head.dataset!r}")
    if head is None or not rows:
        raise ManifestError(f"{path}: no receipt, or one without videos")
    return head, rows


def materialize(
    head: Head,
    rows: Sequence[Row],
    root: Path,
    cache: Path,
    jobs: int = -1,
    progress: Callable[[Outcome], None] = lambda outcome: None,
) -> tuple[list[Compared], list[str]]:
    """Cut the crops of a receipt again from the files under `root` and compare every clip; and what
    to know first.

    A file of the receipt's bytes may have any name. Where there is none, the one file called as the
    owners call the video is taken: it may be another copy of the same pixels, or an altered one.
    A fake that was cut at its original's boxes needs the original in the receipt and under `root`.
    Raises ManifestError for settings that are not those of an extraction, CacheError as extract.
    """
    names = {field.name for field in fields(CropConfig)}
    known = {name: value for name, value in head.settings.items() if name in names}
    crop = record_of(CropConfig, known, "receipt: settings", ManifestError)
    here = crop.settings(reference_of(crop))
    notes = [
        f"{name}: {there!s:.80} in the receipt, {mine!s:.80} here"
        for name, (there, mine) in CropConfig.differing(head.settings, here).items()
    ]
    places = _by_content(root, rows)
    named = _by_name(root, [row for row in rows if row.source not in places], places)
    if named:
        notes.append(f"{len(named)} videos were found by their names; their files have other bytes")
    videos: dict[str, Video] = {}
    for row in rows:
        path = places.get(row.source) or named.get(row.name)
        if path is not None:
            mask = places.get(row.mask)
            values = {**row.video, "path": str(path), "mask": mask and str(mask)}
            video = record_of(Video, values, f"receipt: {row.name}", ManifestError)
            if not row.mask or mask is not None:
                videos[video.video_id] = replace(video, pair_id=None)
    config = ExtractConfig(crop=crop, jobs=jobs)
    outcomes = extract(list(videos.values()), config, cache, progress)
    ended = {outcome.video_id: outcome for outcome in outcomes}
    parent = cache_folder(cache, head.dataset, crop)
    found = [_compared(row, parent, videos, ended) for row in rows]
    return [
        replace(one, reason=one.reason or OTHER_BYTES) if one.name in named else one
        for one in found
    ], notes


def _by_content(root: Path, rows: Sequence[Row]) -> dict[str, Path]:
    """sha256 -> file or folder of pictures under `root`. Where no mask is wanted, only files of a
    size that the receipt knows are read.
    """
    sizes = {row.bytes for row in rows}
    wanted = {row.source for row in rows} | {row.mask for row in rows if row.mask}
    masks = any(row.mask for row in rows)
    found: dict[str, Path] = {}
    for relative in list_media(root).media:
        path = root.absolute() / relative
        if masks or path.is_dir() or path.stat().st_size in sizes:
            digest = content_hash(path)
            if digest in wanted:
                found.setdefault(digest, path)
    return found


def _by_name(root: Path, rows: Sequence[Row], taken: Mapping[str, Path]) -> dict[str, Path]:
    """Name of a row -> the one file whose name, and as many folders as possible, are those of its
    key; files that are another row's by their bytes are nobody's.
    """
    stems: dict[str, list[str]] = {}
    others = set(taken.values())
    for relative in list_media(root).media if rows else ():
        if root.absolute() / relative not in others:
            stems.setdefault(stem_of(relative).casefold(), []).append(relative)
    found = {}
    for row in rows:
        *folders, last = str(row.video.get("key")).casefold().split("/")
        known = stems.get(stem_of(last), [])
        alike = [len(set(folders) & set(path.casefold().split("/")[:-1])) for path in known]
        best = [path for path, count in zip(known, alike, strict=True) if count == max(alike)]
        if len(best) == 1:
            found[row.name] = root.absolute() / best[0]
    return found


def _compared(
    row: Row, parent: Path, videos: Mapping[str, Video], ended: Mapping[str, Outcome]
) -> Compared:
    every = tuple(range(len(row.crops)))
    video_id = str(row.video.get("video_id"))
    if video_id not in videos:
        return Compared(row.name, (), every, "no file of these bytes")
    outcome = ended.get(video_id)
    if outcome is None or outcome.status != "ok":
        return Compared(row.name, (), every, outcome.reason if outcome else "not extracted")
    try:
        mine = crop_hashes(open_video(parent / row.name))
    except CacheError as error:
        return Compared(row.name, (), every, str(error)[:200])
    equal = tuple(n for n in every if n < len(mine) and mine[n] == row.crops[n])
    return Compared(row.name, equal, tuple(n for n in every if n not in equal))

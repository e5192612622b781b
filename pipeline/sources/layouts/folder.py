"""Any folder of videos or pictures sorted into `real/` and `fake/`, at any depth; ours, for sets
without an adapter. Either of them may be missing: reals alone are enough to train on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds
from unmask.pipeline.sources.listing import (
    PICTURE_EXTENSIONS,
    extension_of,
    list_media,
    natural,
    pictures_in,
    stem_of,
)
from unmask.pipeline.sources.splits import joined_groups

LABELS = {"real": REAL, "fake": FAKE}
SPLIT_FOLDERS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
FFPP_NAME = re.compile(r"([0-9]{3})_([0-9]{3})")
SHOWN = 5


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every video below a folder called real or fake; the nearest one decides.

    A folder of pictures is one video; a picture directly in real/ or fake/ is one too, of one
    frame. Split folders (train, val, test) are honoured unless a split
    ratio is given.
    Raises: UsageError when videos lie outside real/ and fake/, naming the first few.
    """
    finds = Finds(options.name or "folder", root, options)
    listing = list_media(root)
    finds.ignored = listing.ignored
    stills = [
        picture
        for folder in listing.folders
        if _is_label_folder(folder)
        for picture in pictures_in(root, folder)
    ]
    media = [path for path in listing.media if not _is_label_folder(path)]
    media = sorted([*media, *stills], key=natural) if stills else media
    _refuse_unlabelled(root, media)
    splits = {path: _split_folder(path) for path in media}
    honoured = options.split_ratio is None and any(splits.values())
    names = _names_of(media)
    groups = groups_of(names.values())
    for path in media:
        split = (splits[path] or "none", "official") if honoured else ("none", "derived")
        finds.add(_record(finds.name, root, path, groups[names[path].casefold()], split))
    if repeated := sum("/" in name for name in names.values()):
        finds.notes.append(
            f"{repeated} videos have a file name that repeats within their label: their folders, "
            "not the name, say what belongs together"
        )
    _tell(finds, splits, honoured)
    return finds.dataset()


def _record(name: str, root: Path, path: str, group: str, split: tuple[str, str]) -> Video:
    label = _label(path)
    assert label is not None, "unlabelled files were refused above"
    return Video(
        dataset=name,
        key=path,
        video_id="",
        path=root / path,
        label=label,
        method=method_of(path) if label == FAKE else "real",
        split=split[0],
        split_origin=split[1],
        group=group,
        video_fake=label == FAKE,
    )


def _label(path: str) -> int | None:
    """Label of the nearest folder above the file; the file's own name and the root never count."""
    parts = path.casefold().split("/")[:-1]
    return next((LABELS[part] for part in reversed(parts) if part in LABELS), None)


def _split_folder(path: str) -> str:
    parts = path.casefold().split("/")[:-1]
    return next((SPLIT_FOLDERS[part] for part in reversed(parts) if part in SPLIT_FOLDERS), "")


def method_of(path: str) -> str:
    """First folder below the label folder that is no split, or "fake": `fake/Deepfakes/a.mp4` ->
    `Deepfakes`.
    """
    parts = path.split("/")[:-1]
    place = max(k for k, part in enumerate(parts) if part.casefold() in LABELS)
    inner = [part for part in parts[place + 1 :] if part.casefold() not in SPLIT_FOLDERS]
    return inner[0] if inner else "fake"


def _names_of(media: list[str]) -> dict[str, str]:
    """path -> the name that groups it: its stem, or where the stem repeats within a label and
    method, the path without the folders of label, method and split.

    person1/video.mp4 and person2/video.mp4 follow a convention and are no one recording, while
    real/person1/video.mp4 and fake/swap/person1/video.mp4 may be. Ids that FF++-like names speak
    of (000 where there is a 000_003) keep their meaning.
    """
    stems = {path: _stem(path) for path in media}
    pairs = [match for stem in stems.values() if (match := FFPP_NAME.fullmatch(stem))]
    told = {name for match in pairs for name in (match[0], match[1], match[2])}
    times = Counter(
        (_label(path), method_of(path) if _label(path) == FAKE else "real", stem)
        for path, stem in stems.items()
    )
    repeated = {stem for (_, _, stem), count in times.items() if count > 1} - told
    return {path: _plain(path) if stem in repeated else stem for path, stem in stems.items()}


def _plain(path: str) -> str:
    """`train/fake/swap/person1/video.mp4` -> `person1/video`."""
    method = method_of(path).casefold() if _label(path) == FAKE else ""
    *parts, _ = path.casefold().split("/")
    place = max(k for k, part in enumerate(parts) if part in LABELS)
    kept = [
        part
        for k, part in enumerate(parts)
        if part not in LABELS and part not in SPLIT_FOLDERS and not (k > place and part == method)
    ]
    return "/".join([*kept, _stem(path)])


def _stem(path: str) -> str:
    stem = stem_of(path).casefold()
    return stem.rpartition(".")[0] if extension_of(stem) in PICTURE_EXTENSIONS else stem


def groups_of(stems: Iterable[str]) -> dict[str, str]:
    """Leakage group of each name, whatever its case: equal names share one, and so do `000_003`,
    `000` and `003`.
    """
    links = []
    for stem in stems:
        match = FFPP_NAME.fullmatch(stem)
        links.append((stem.casefold(), match[1] if match else stem.casefold()))
        if match:
            links.append((match[1], match[2]))
    return {str(stem): str(group) for stem, group in joined_groups(links).items()}


def _is_label_folder(path: str) -> bool:
    """Whether a path is a folder real/ or fake/ itself, which then holds pictures; files have an
    extension, so none is called like that.
    """
    return path.casefold().rpartition("/")[2] in LABELS


def _refuse_unlabelled(root: Path, media: list[str]) -> None:
    lost = [path for path in media if _label(path) is None]
    if lost:
        shown = ", ".join(repr(path) for path in lost[:SHOWN]) + (
            ", ..." if len(lost) > SHOWN else ""
        )
        raise UsageError(
            f"folder: {len(lost)} of {len(media)} videos under {str(root)!r} lie in no folder "
            "called real or fake: "
            f"{shown}; move them below real/ or fake/, or list them in a table and use --dataset "
            "csv"
        )


def _tell(finds: Finds, splits: dict[str, str], honoured: bool) -> None:
    if honoured:
        finds.notes.append("splits taken from the folders called train, val and test")
        outside = [path for path, split in splits.items() if not split]
        if outside:
            finds.problems.append(
                f"{len(outside)} videos lie in no split folder and get no split, e.g. "
                f"{outside[0]!r}"
            )
    elif any(splits.values()):
        finds.notes.append(
            "the split folders on the disk are not used because a split ratio was given"
        )


SOURCE = Source(
    name="folder",
    title="Your own folder of videos",
    kind="videos or picture folders",
    size="any",
    access="yours",
    licence="yours",
    tasks="detection",
    tree="""\
<root>/
  real/ ... any.mp4            at any depth; or a folder of pictures per video
  real/any.jpg                 a picture directly in real/ or fake/ is a video of one frame
  fake/<method>/ ... any.mp4   the first folder below fake/ is the method
  Optional folders train/, val/, test/ anywhere above the files give the splits.""",
    labels="the nearest folder called real or fake (any case) above the file; nothing is read "
    "from file names",
    splits="folders train, val, test where they are; otherwise derived by leakage group: equal "
    "file names share a group (unless they repeat within a label: then equal folders and names), "
    "and FF++-like names (000_003) share one with 000 and 003",
    discover=discover,
)

"""Lists of neighbours' toolboxes -> our manifests: DeepfakeBench JSON, TALL lines, CLRNet trees,
Xception-LSTM lines.

All of them name folders of face pictures (PNG, JPEG); the manifests name the same folders relative
to one root.
"""

from __future__ import annotations

import os
import re
import reprlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from unmask.pipeline.errors import ManifestError, UsageError, listing
from unmask.pipeline.manifests.checked import has_pictures
from unmask.pipeline.manifests.text import parse, write_manifest
from unmask.pipeline.records import FAKE, REAL, SPLITS, Entry
from unmask.pipeline.sources.listing import natural
from unmask.pipeline.sources.metadata import read_json, read_lines

SPLIT_WORDS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
LABEL_FOLDERS = {"real": REAL, "fake": FAKE}
# DeepfakeBench's names of FF++ methods; every other name ends in real or fake.
BENCH_FAKES = frozenset({"ff-df", "ff-f2f", "ff-fs", "ff-nt", "ff-fh"})


@dataclass
class Imported:
    """Entries per split (`all` where the format has none) and what was changed on the way."""

    splits: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)


def import_list(
    form: str, source: Path, *, root: Path | None = None, fake_is: int = 1, compression: str = ""
) -> Imported:
    """Read a neighbour's list.

    form: deepfakebench, tall, clrnet or xception-lstm.
    root: folder the pictures lie under; paths of the list are taken relative to it.
    fake_is: the number that means fake in TALL lists, which state none.
    compression: of a DeepfakeBench JSON with several, e.g. c23.
    Raises: UsageError for an unknown form or file, ManifestError that lists bad lines.
    """
    if form not in FORMS:
        raise UsageError(f"no list format {form!r}; known: {', '.join(FORMS)}")
    if not source.exists():
        raise UsageError(f"no file or folder {str(source)!r}")
    root = root or (source if source.is_dir() else source.parent)
    imported = FORMS[form](source, root, fake_is, compression)
    if not any(imported.splits.values()):
        raise ManifestError(f"{source}: no entries found; is it a list of the form {form}?")
    return imported


def write_imported(imported: Imported, out: Path) -> dict[Path, int]:
    """One manifest per split in `out`; returns each path with its number of entries."""
    written = {}
    for split, entries in imported.splits.items():
        if entries:
            write_manifest(out / f"{split}.txt", entries)
            written[out / f"{split}.txt"] = len(entries)
    return written


def _deepfakebench(source: Path, root: Path, fake_is: int, compression: str) -> Imported:
    """`{dataset: {name: {split: {[compression:] {video: {label, frames}}}}}}`; the label is in the
    name.

    Its Celeb-DF lists put the test videos into train and val too; both lose them.
    """
    imported = Imported()
    labels: dict[str, int] = {}
    without, seen = [], 0
    for name, splits in _objects(read_json(source, dict), 2):
        label = _bench_label(name[1])
        for split, videos in _objects(splits, 1):
            if split[0] not in SPLIT_WORDS:
                raise ManifestError(f"{source}: {split[0]!r} is no split ({', '.join(SPLITS)})")
            for video, row in _bench_videos(videos, compression, source):
                seen += 1
                if isinstance(row, dict) and row.get("frames") == []:
                    without.append(video)
                    continue
                folder = _relative(_frame_folder(video, row, source), root)
                if labels.setdefault(folder, label) != label:
                    raise ManifestError(f"{source}: {folder!r} stands under a real and a fake name")
                imported.splits[SPLIT_WORDS[split[0]]].append(Entry(folder, label))
    if without:
        imported.notes.append(
            f"{len(without)} of {seen} videos left out: the list names no frames of them, e.g. of "
            f"{reprlib.repr(without[0])}"
        )
    _separate(imported)
    return imported


def _objects(
    content: object, depth: int, path: tuple[str, ...] = ()
) -> Iterable[tuple[tuple[str, ...], dict]]:
    """(names, object) of every object `depth` levels below."""
    if not isinstance(content, dict):
        raise ManifestError(f"DeepfakeBench JSON: {'/'.join(path) or 'the file'} is not an object")
    if depth == 0:
        yield path, content
        return
    for name, inner in content.items():
        yield from _objects(inner, depth - 1, (*path, name))


def _bench_label(name: str) -> int:
    """`FF-real`, `CelebDFv2_real`, `DFDC_Fake`, `DFDCP_FakeA`, `FF-DF` ...; nothing else is
    guessed.
    """
    last = re.split(r"[-_]", name.casefold())[-1]
    if last == "real":
        return REAL
    if last.startswith("fake") or name.casefold() in BENCH_FAKES:
        return FAKE
    raise ManifestError(f"DeepfakeBench JSON: {name!r} says neither real nor fake")


def _bench_videos(videos: dict, compression: str, source: Path) -> Iterable[tuple[str, dict]]:
    """Videos of one split; where a compression level lies between, the asked one."""
    rows = list(videos.items())
    if not rows or "frames" in (rows[0][1] if isinstance(rows[0][1], dict) else {}):
        return rows
    levels = [name for name, _ in rows]
    if not compression and len(levels) == 1:
        compression = levels[0]
    if compression not in levels:
        raise ManifestError(
            f"{source}: choose a compression with --compression: {', '.join(levels)}"
        )
    return list(videos[compression].items())


def _frame_folder(video: str, row: object, source: Path) -> str:
    frames = row.get("frames") if isinstance(row, dict) else None
    if (
        not isinstance(frames, list)
        or not frames
        or not all(isinstance(frame, str) for frame in frames)
    ):
        raise ManifestError(f"{source}: video {video!r} lists no frames")
    folders = {frame.replace("\\", "/").rpartition("/")[0] for frame in frames}
    if len(folders) != 1:
        raise ManifestError(f"{source}: the frames of {video!r} lie in {len(folders)} folders")
    return folders.pop()


def _separate(imported: Imported) -> None:
    """Take what val and test share out of val, then what either shares with train out of train."""
    test = {entry.folder for entry in imported.splits["test"]}
    later = test
    for split in ("val", "train"):
        entries = imported.splits[split]
        kept = [entry for entry in entries if entry.folder not in later]
        if lost := len(entries) - len(kept):
            imported.notes.append(
                f"{lost} of {len(entries)} {split} videos left out: they are also in a later split"
            )
        imported.splits[split] = kept
        later = later | {entry.folder for entry in kept}


def _tall(source: Path, root: Path, fake_is: int, compression: str) -> Imported:
    """`folder start_frame end_frame label`, 1-based; several lines of one folder become one
    entry.
    """
    imported, bad = Imported(), []
    split = next((s for word, s in SPLIT_WORDS.items() if word in source.stem.casefold()), "all")
    labels: dict[str, int] = {}
    spans: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for number, line in read_lines(source):
        match = re.fullmatch(r"(.+) ([0-9]+) ([0-9]+) ([01])", line)
        if not match or not 1 <= int(match[2]) <= int(match[3]):
            bad.append(
                f"{source}:{number}: {line!r} is not '<folder> <start from 1> <end> <0 or 1>'"
            )
            continue
        folder, label = _relative(match[1], root), FAKE if int(match[4]) == fake_is else REAL
        spans[folder].add((int(match[2]), int(match[3])))
        if labels.setdefault(folder, label) != label:
            bad.append(f"{source}:{number}: {folder!r} has both labels")
    _refuse(bad, source)
    imported.splits[split] = [Entry(folder, label) for folder, label in labels.items()]
    imported.notes.append(f"{fake_is} was read as fake; the list itself does not say")
    if any(len(found) > 1 or min(found)[0] > 1 for found in spans.values()):
        imported.notes.append(
            "frame ranges are not kept: every entry stands for all pictures of its folder"
        )
    return imported


def _clrnet(source: Path, root: Path, fake_is: int, compression: str) -> Imported:
    """The tree `<method>/<split>/{real,fake}/<video>/NNNNN.png`; the folder decides (their numbers
    are inverted).
    """
    imported = Imported()
    for folder, _, _ in sorted(os.walk(source), key=lambda item: natural(item[0])):
        parts = Path(folder).relative_to(source).parts
        if (
            len(parts) < 3
            or parts[-2].casefold() not in LABEL_FOLDERS
            or parts[-3].casefold() not in SPLIT_WORDS
        ):
            continue
        if has_pictures(Path(folder)):
            entry = Entry(_relative(folder, root), LABEL_FOLDERS[parts[-2].casefold()])
            imported.splits[SPLIT_WORDS[parts[-3].casefold()]].append(entry)
    return imported


def _xception_lstm(source: Path, root: Path, fake_is: int, compression: str) -> Imported:
    """Lines `folder label` with 0 real and 1 fake, as ours; absolute folders are made relative to
    the root.
    """
    split = next((s for word, s in SPLIT_WORDS.items() if word in source.stem.casefold()), "all")
    imported = Imported()
    lines = []
    for _, line in read_lines(source):
        folder, space, label = line.rpartition(" ")
        lines.append(f"{_relative(folder, root)}{space}{label}" if folder else line)
    entries = parse("\n".join(lines).encode("utf-8", "surrogateescape"), str(source))
    imported.splits[split] = [Entry(entry.folder, entry.label) for entry in entries]
    return imported


def _relative(folder: str, root: Path) -> str:
    """The folder as it stands below the root; lists of others carry absolute paths and a leading
    `./`.
    """
    plain = PurePosixPath(folder.replace("\\", "/"))
    if plain.is_absolute():
        for base in (root.absolute(), Path(os.path.realpath(root))):
            if plain.is_relative_to(base.as_posix()):
                return plain.relative_to(base.as_posix()).as_posix()
    return str(plain)


def _refuse(bad: list[str], source: Path) -> None:
    if bad:
        raise ManifestError(listing(bad, f"{source}: {len(bad)} bad lines"))


FORMS: dict[str, Callable[[Path, Path, int, str], Imported]] = {
    "deepfakebench": _deepfakebench,
    "tall": _tall,
    "clrnet": _clrnet,
    "xception-lstm": _xception_lstm,
}

"""FaceForensics++ with FaceShifter: which video is whose, and in which split (ffpp_tree.py beside
this file finds them).

Source: ondyari/FaceForensics; splits are lists of PAIRS [a, b]: reals a and b, and fakes a_b and
b_a per method.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Sequence
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL, SPLITS, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds
from unmask.pipeline.sources.layouts.ffpp_tree import (
    COMPRESSIONS,
    MARKERS,
    METHODS,
    check_flat,
    compression_of,
    is_flat,
    is_official_tree,
    list_method,
    masks_of,
    methods_of,
)
from unmask.pipeline.sources.listing import (
    Listing,
    nested_root,
    stem_of,
)
from unmask.pipeline.sources.metadata import find_file, read_json
from unmask.pipeline.sources.splits import joined_groups

COUNTS = {"train": 720, "val": 140, "test": 140}
# The owners' lists, under their licence; the download script does not bring them.
SHIPPED_LISTS = Path(__file__).parent.parent / "lists" / "ffpp"
# YouTube videos that supply sequences of two official splits (from conversion_dict.json, 7 of 22
# shared ones).
STRADDLING = (
    ("605", "606"),
    ("639", "640"),
    ("837", "838"),
    ("875", "876"),
    ("982", "983"),
    ("755", "756"),
    ("954", "955"),
)

Pair = tuple[str, str]


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every video the official pair lists name, found or missing, and what else lies there.

    Raises: UsageError for incomplete or bad lists (unless a split ratio is given), an unknown
    method or compression.
    """
    root = nested_root(root, MARKERS)
    if not is_official_tree(root):
        root = nested_root(root, METHODS)
    finds = Finds("ffpp", root, options)
    compression = compression_of(options.compression)
    if is_flat(root):
        check_flat("ffpp", root, compression, finds.notes)
    methods = methods_of(root, options.methods, finds.notes)
    listings = {method: list_method(root, method, compression) for method in ("real", *methods)}
    for listing in listings.values():
        finds.ignored += listing.ignored
    if not any(listing.media for listing in listings.values()):
        _refuse_empty(root, compression, methods)
    if options.split_ratio is None:
        lists = read_pairs(root, options.splits, finds.notes)
        _listed(finds, listings, lists, compression)
        _report_straddling(finds, lists)
        finds.expected = [
            Expected(count, method=method, split=split)
            for method in methods
            for split, count in COUNTS.items()
        ]
        finds.expected += [Expected(count, REAL, split=split) for split, count in COUNTS.items()]
    else:
        _unlisted_splits(finds, listings, compression)
    finds.options = without_methods(options)
    return finds.dataset()


def _refuse_empty(root: Path, compression: str, methods: Sequence[str]) -> None:
    """Raises: UsageError that names the compressions that are there, where some other one is."""
    others = [
        name
        for name in COMPRESSIONS
        if name != compression
        and any(list_method(root, method, name).media for method in ("real", *methods))
    ]
    cause = (
        f"{' and '.join(others)} is there: --compression {others[0]}"
        if others
        else "`datasets ffpp` prints the expected tree"
    )
    raise UsageError(f"ffpp: no videos of {compression} under {str(root)!r}; {cause}")


def read_pairs(root: Path, splits: Path | None, notes: list[str]) -> dict[str, list[Pair]]:
    """The official lists: split -> pairs of ids; looked for in `splits`, or in the root, `splits/`
    and `dataset/splits/`, and where none of the three lies there, those that come with unmask.

    notes: gets a line when the lists are unmask's copy.
    Raises: UsageError that names what is absent when only some lists are there, or none in
        `splits`; and the file whose content is not a list of pairs, each id once.
    """
    places = [splits] if splits else [root, root / "splits", root / "dataset" / "splits"]
    names = {split: f"{split}.json" for split in SPLITS}
    whole = (place for place in places if all((place / n).is_file() for n in names.values()))
    place = next(whole, None)
    if place is None:
        # One list beside two of our copy could be a split of somebody's own: nothing is filled up.
        if splits or find_file(tuple(names.values()), *places):
            looked = ", ".join(repr(str(place)) for place in places)
            raise UsageError(
                "ffpp: train.json, val.json and test.json (the official pair lists) are not "
                f"together in one of {looked}; give their folder with --splits, or ask for a split "
                "of your own with --split-ratio"
            )
        place = SHIPPED_LISTS
        notes.append("no split lists below the root: the official ones that come with unmask")
    paths = {split: place / name for split, name in names.items()}
    lists = {split: _read_pair_file(path) for split, path in paths.items()}
    _refuse_repeated(lists, paths)
    return lists


def _read_pair_file(path: Path) -> list[Pair]:
    content = read_json(path, list)
    for row, pair in enumerate(content, 1):
        if not _is_pair(pair):
            raise UsageError(
                f"{str(path)!r}, entry {row}: {reprlib.repr(pair)} is not a pair of three-digit "
                "ids; a list of pairs looks like [['071', '054'], ...]"
            )
    if not content:
        raise UsageError(f"{str(path)!r} is an empty list of pairs")
    return [(a, b) for a, b in content]


def _refuse_repeated(lists: dict[str, list[Pair]], paths: dict[str, Path]) -> None:
    """An id in two pairs would be one video twice, or in two splits.

    Raises: UsageError with both entries.
    """
    first: dict[str, str] = {}
    for split, pairs in lists.items():
        for row, pair in enumerate(pairs, 1):
            where = f"{str(paths[split])!r}, entry {row}"
            for name in pair:
                if name in first:
                    raise UsageError(f"{where}: id {name!r} stands already in {first[name]}")
                first[name] = where


def _is_pair(pair: object) -> bool:
    if not isinstance(pair, list) or len(pair) != 2:
        return False
    return all(isinstance(i, str) and re.fullmatch(r"[0-9]{3}", i) for i in pair)


def _listed(
    finds: Finds, listings: dict[str, Listing], lists: dict[str, list[Pair]], compression: str
) -> None:
    """Walk the official lists; what the disk lacks is missing, what no list names is unlisted."""
    dropped = leaking(finds.root, lists, finds.options.splits) if finds.options.strict else {}
    for method, listing in listings.items():
        found = _by_stem(finds, listing)
        masks = {} if method == "real" else masks_of(finds.root, method, compression)
        for split, pairs in lists.items():
            for a, b in pairs:
                for stem in (a, b) if method == "real" else (f"{a}_{b}", f"{b}_{a}"):
                    relative = found.pop(stem, None)
                    if split == "train" and (a, b) in dropped:
                        continue
                    path = finds.root / (relative or _official(method, compression, stem))
                    video = record(stem, method, compression, path, _group(a, b), masks.get(stem))
                    finds.add(_with_split(video, split), present=relative is not None)
        finds.unlisted += found.values()


def _by_stem(finds: Finds, listing: Listing) -> dict[str, str]:
    found: dict[str, str] = {}
    for relative in listing.media:
        first = found.setdefault(stem_of(relative), relative)
        if first != relative:
            finds.problems.append(
                f"{relative!r} and {first!r} are the same video; the second is used"
            )
    return found


def record(
    stem: str,
    method: str,
    compression: str,
    path: Path,
    group: str,
    mask: Path | None,
    dataset: str = "ffpp",
) -> Video:
    """The record of `<target>` or `<target>_<source>`: the pair of a fake is the real of its first
    id.
    """
    target, _, source = stem.partition("_")
    real = method == "real"
    return Video(
        dataset=dataset,
        key=f"{'youtube' if real else method}/{compression}/{stem}",
        video_id="",
        path=path,
        label=REAL if real else FAKE,
        method=method,
        compression=compression,
        target=target,
        source=None if real else source,
        pair=None if real else f"youtube/{compression}/{target}",
        group=group,
        mask=mask,
        video_fake=not real,
        audio_fake=None,
    )


def _with_split(video: Video, split: str) -> Video:
    return Video(**{**video.__dict__, "split": split, "split_origin": "official"})


def _group(a: str, b: str) -> str:
    return "_".join(sorted((a, b)))


def _official(method: str, compression: str, stem: str) -> str:
    base = "original_sequences/youtube" if method == "real" else f"manipulated_sequences/{method}"
    return f"{base}/{compression}/videos/{stem}.mp4"


def _unlisted_splits(finds: Finds, listings: dict[str, Listing], compression: str) -> None:
    """Without the lists: groups are the connected ids on this disk, the split is derived."""
    found = {method: _by_stem(finds, listing) for method, listing in listings.items()}
    stems = {
        m: [s for s in stems if re.fullmatch(r"[0-9]{3}(_[0-9]{3})?", s)]
        for m, stems in found.items()
    }
    groups = joined_groups((stem[:3], stem[-3:]) for names in stems.values() for stem in names)
    finds.notes.append(
        "own split instead of the official lists: numbers are not comparable with published ones"
    )
    for method, by_stem in found.items():
        masks = {} if method == "real" else masks_of(finds.root, method, compression)
        for stem, relative in by_stem.items():
            if (len(stem) == 3) != (method == "real") or stem not in stems[method]:
                finds.unlisted.append(relative)
                continue
            group = str(groups[stem[:3]])
            finds.add(
                record(stem, method, compression, finds.root / relative, group, masks.get(stem))
            )


def leaking(
    root: Path, lists: dict[str, list[Pair]], splits: Path | None
) -> dict[Pair, tuple[str, str]]:
    """Training pairs that share a YouTube video with val or test -> the two ids that share it."""
    split_of = {i: split for split, pairs in lists.items() for pair in pairs for i in pair}
    pair_of = {i: pair for pairs in lists.values() for pair in pairs for i in pair}
    result = {}
    for a, b in shared_sources(root, splits):
        if {split_of.get(a), split_of.get(b)} > {"train"} and None not in (
            split_of.get(a),
            split_of.get(b),
        ):
            train = a if split_of[a] == "train" else b
            result[pair_of[train]] = (a, b)
    return result


def shared_sources(root: Path, splits: Path | None) -> list[Pair]:
    """Ids cut from one YouTube video: from conversion_dict.json where it lies, else the seven
    known to straddle.
    """
    folders = [splits, splits.parent] if splits else []
    for folder in (*folders, root, root / "splits", root / "dataset", root / "dataset" / "splits"):
        path = folder / "conversion_dict.json"
        if path.is_file():
            return _read_shared(path)
    return list(STRADDLING)


def _read_shared(path: Path) -> list[Pair]:
    content = read_json(path, dict)
    youtube = {i: str(name).rsplit(" ", 1)[0] for i, name in content.items()}
    seen: dict[str, list[str]] = {}
    for i, name in youtube.items():
        seen.setdefault(name, []).append(i)
    return [(a, b) for ids in seen.values() for k, a in enumerate(ids) for b in ids[k + 1 :]]


def _report_straddling(finds: Finds, lists: dict[str, list[Pair]]) -> None:
    leaks = leaking(finds.root, lists, finds.options.splits)
    if not leaks:
        return
    shared = ", ".join(f"{a}|{b}" for a, b in sorted(leaks.values()))
    done = (
        "their training pairs are dropped"
        if finds.options.strict
        else "use --strict to drop their training pairs"
    )
    finds.notes.append(
        f"the official split shares {len(leaks)} source videos across splits ({shared}); {done}"
    )


def without_methods(options: SourceOptions) -> SourceOptions:
    """The methods were chosen by folder already; short names mean nothing to the general filter."""
    return SourceOptions(**{**options.__dict__, "methods": ()})


SOURCE = Source(
    name="ffpp",
    title="FaceForensics++ (with FaceShifter)",
    kind="videos",
    size="c23 10 GB, c40 2 GB, raw 500 GB; 1000 reals, 1000 fakes per method",
    access="request form at github.com/ondyari/FaceForensics",
    licence="non-commercial research, no redistribution",
    tasks="detection, localisation by masks",
    tree="""\
<root>/
  original_sequences/youtube/{raw,c23,c40}/videos/000.mp4 ... 999.mp4
  manipulated_sequences/<method>/{raw,c23,c40}/videos/000_003.mp4
  manipulated_sequences/<method>/masks/videos/000_003.mp4          (FaceShifter has none)
  train.json val.json test.json      (or in splits/, dataset/splits/, --splits DIR; else ours)
<method> is Deepfakes, Face2Face, FaceSwap, NeuralTextures or FaceShifter.
Also read: `c0` for raw, no `youtube` level, a further folder around
or inside, frames in images/ or frames/, copies with original/ and the
methods side by side.""",
    labels="by folder: original_sequences real, manipulated_sequences/<method> fake; 000_003 "
    "shows 000 with the face "
    "(or expression) of 003, so its pair is youtube/000",
    splits="official lists of pairs, 720/140/140 reals and as many fakes per method; --strict "
    "drops the training "
    "pairs of the 7 source videos that straddle splits; --split-ratio makes an own split by "
    "groups of connected ids",
    discover=discover,
    aliases=("ff++", "faceforensics", "faceforensics++", "ff", "faceforensicspp"),
)

"""DeeperForensics-1.0: fakes in 11 variants of the same 1,000 swaps; its real class is FF++
youtube c23.
"""

from __future__ import annotations

import re
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL, SPLITS, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions, data_root
from unmask.pipeline.sources.finds import Finds, nearest
from unmask.pipeline.sources.layouts import ffpp, ffpp_tree
from unmask.pipeline.sources.listing import (
    list_media,
    nested_root,
    stem_of,
    subfolders,
)
from unmask.pipeline.sources.metadata import find_file, read_lines

DEFAULT_VARIANT = "end_to_end"
NAME = re.compile(r"([0-9]{3})_([MW][0-9]+)")
COUNTS = {"train": 703, "val": 96, "test": 201}


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Fakes of the asked variants by the official lists of file names, and the FF++ originals of
    their targets.

    source_videos/ (studio recordings of the donors) are not the reals.
    Raises: UsageError without the lists.
    """
    root = nested_root(root, ("manipulated_videos",))
    finds = Finds("deeperforensics", root, options)
    lists = _lists(root, options.splits)
    split_of = {
        match[1]: split
        for split, names in lists.items()
        for n in names
        if (match := NAME.fullmatch(n))
    }
    variants = _variants(finds)
    for variant in variants:
        _add_variant(finds, variant, lists)
    _add_reals(finds, split_of)
    _compare_with_ffpp(finds, split_of)
    if (root / "source_videos").is_dir():
        finds.notes.append("source_videos/ are recordings of the donors, not the reals; not used")
    finds.options = ffpp.without_methods(options)
    finds.expected = [
        Expected(count, FAKE, variant, split)
        for variant in variants
        for split, count in COUNTS.items()
    ]
    return finds.dataset()


def _lists(root: Path, given: Path | None) -> dict[str, list[str]]:
    folders = (given,) if given else (root / "lists" / "splits", root / "splits", root)
    paths = {split: find_file((f"{split}.txt",), *folders) for split in SPLITS}
    if None in paths.values():
        lacking = ", ".join(f"{split}.txt" for split, path in paths.items() if path is None)
        raise UsageError(
            f"deeperforensics: {lacking} not in {', '.join(repr(str(f)) for f in folders)}; see "
            "--splits"
        )
    return {
        split: [stem_of(line.replace("\\", "/")) for _, line in read_lines(path)]
        for split, path in paths.items()
        if path
    }


def _variants(finds: Finds) -> list[str]:
    known = list(subfolders(finds.root / "manipulated_videos"))
    if finds.options.methods:
        return (
            known
            if "all" in finds.options.methods
            else [nearest(m, known, "variant") for m in finds.options.methods]
        )
    if len(known) > 1:
        finds.notes.append(
            f"only variant {DEFAULT_VARIANT} is used; --methods names others "
            f"({', '.join(known)}) or all"
        )
    return [DEFAULT_VARIANT]


def _add_variant(finds: Finds, variant: str, lists: dict[str, list[str]]) -> None:
    base = f"manipulated_videos/{variant}"
    listing = list_media(finds.root, base)
    finds.ignored += listing.ignored
    found = {stem_of(relative): relative for relative in listing.media}
    for split, names in lists.items():
        for name in names:
            match = NAME.fullmatch(name)
            if match is None:
                finds.problems.append(f"{split}.txt: {name!r} is not <target>_<actor>.mp4")
                continue
            relative = found.pop(name, None)
            path = finds.root / (relative or f"{base}/{name}.mp4")
            video = _record(
                finds, f"{variant}/{name}", path, FAKE, variant, split, match[1], match[2]
            )
            finds.add(video, present=relative is not None)
    finds.unlisted += found.values()


def _record(
    finds: Finds,
    key: str,
    path: Path,
    label: int,
    method: str,
    split: str,
    target: str,
    donor: str | None,
) -> Video:
    derived = finds.options.split_ratio is not None
    return Video(
        dataset=finds.name,
        key=key,
        video_id="",
        path=path,
        label=label,
        method=method,
        split="none" if derived else split,
        split_origin="derived" if derived else "official",
        target=target,
        source=donor,
        pair=f"youtube/c23/{target}" if label == FAKE else None,
        group=target,
        video_fake=label == FAKE,
    )


def _reals(finds: Finds) -> Path | None:
    """Root of FF++: --reals, where ffpp lies by default, or beside this dataset."""
    given = finds.options.reals
    candidates = (
        (given,)
        if given
        else (data_root("ffpp"), finds.root.parent / "ffpp", finds.root.parent / "FaceForensics++")
    )
    for folder in candidates:
        if folder and folder.is_dir():
            nested = nested_root(folder.absolute(), ffpp_tree.MARKERS)
            if (nested / "original_sequences").is_dir():
                return nested
    return None


def _add_reals(finds: Finds, split_of: dict[str, str]) -> None:
    root = _reals(finds)
    if root is None:
        finds.notes.append("no reals: they are FF++ youtube c23; name its root with --reals")
        return
    listing = ffpp_tree.list_method(root, "real", "c23")
    found = {stem_of(relative): root / relative for relative in listing.media}
    for target, split in sorted(split_of.items()):
        path = found.get(target, root / f"original_sequences/youtube/c23/videos/{target}.mp4")
        video = _record(finds, f"youtube/c23/{target}", path, REAL, "real", split, target, None)
        finds.add(video, present=target in found)


def _compare_with_ffpp(finds: Finds, split_of: dict[str, str]) -> None:
    """These lists do not follow the FF++ split; whoever trains on FF++ should know how many
    targets leak.
    """
    root = _reals(finds)
    try:
        lists = ffpp.read_pairs(root, None, []) if root else {}
    except UsageError:
        return
    official = {i: split for split, pairs in lists.items() for pair in pairs for i in pair}
    leaks = sum(
        split == "test" and official.get(target) == "train" for target, split in split_of.items()
    )
    if official:
        finds.notes.append(
            f"{leaks} test targets are training videos of FF++: training there and testing here "
            "leaks"
        )


SOURCE = Source(
    name="deeperforensics",
    title="DeeperForensics-1.0",
    kind="videos",
    size="284 GB; 11 variants of 1,000 fakes; reals are FF++",
    access="form",
    licence="non-commercial, no redistribution",
    tasks="detection, robustness to distortions",
    tree="""\
<root>/
  lists/splits/{train,val,test}.txt
  manipulated_videos/<variant>/000_M101.mp4      (variant end_to_end unless --methods)
FF++ with original_sequences/youtube/c23         ($UNMASK_DATA/ffpp, beside it, or --reals)""",
    labels="manipulated_videos fake; reals are the FF++ originals of the targets, not "
    "source_videos/",
    splits="official lists of file names, 703/96/201; reals follow their target's fake",
    discover=discover,
    aliases=("deeperforensics10", "deeperforensics1.0", "dfo", "df10"),
)

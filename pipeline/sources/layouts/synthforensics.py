"""SynthForensics: whole videos of people made from text or a picture, each after a real one of
FaceForensics++ or DeepFakeDetection, which are not part of it.
"""

from __future__ import annotations

from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions, data_root
from unmask.pipeline.sources.finds import Finds, nearest
from unmask.pipeline.sources.layouts import ffpp_tree
from unmask.pipeline.sources.layouts.ffpp import SHIPPED_LISTS, read_pairs
from unmask.pipeline.sources.listing import (
    child,
    list_media,
    nested_root,
    stem_of,
    subfolders,
)

KINDS = ("T2V", "I2V")
COMPRESSIONS = {
    "raw": "raw", "canonical": "canonical", "c23": "crf23", "crf23": "crf23",
    "c40": "crf40", "crf40": "crf40",
}  # fmt: skip
# The version of the reals that a version of the fakes stands beside.
REAL_VERSION = {"raw": "raw", "canonical": "c23", "crf23": "c23", "crf40": "c40"}


def discover(root: Path, options: SourceOptions) -> Dataset:
    """The fakes of one compression, and the reals they were made after, under --reals (a root of
    FaceForensics++ with its DeepFakeDetection).

    The split of a FaceForensics++ number is that of its official lists, so that a detector trained
    there is tested on other recordings; DeepFakeDetection's are split by recording.
    """
    root = nested_root(root, KINDS)
    finds = Finds("synthforensics", root, options)
    wanted = COMPRESSIONS[nearest(options.compression, COMPRESSIONS, "compression")]
    listed = {} if options.split_ratio is not None else _official(options.splits, finds.notes)
    for kind in KINDS:
        videos = child(root, kind) / "videos"
        for generator in subfolders(videos / wanted):
            _add_generator(finds, f"{kind}/videos/{wanted}/{generator}", kind, generator, listed)
    if not finds.videos:
        raise UsageError(f"synthforensics: no {{T2V,I2V}}/videos/{wanted}/ in {str(root)!r}")
    _add_reals(finds, REAL_VERSION[wanted], listed)
    finds.expected = [Expected(20_445, FAKE), Expected(1_363, REAL)]
    return finds.dataset()


def _official(given: Path | None, notes: list[str]) -> dict[str, str]:
    """FaceForensics++ number -> split of its official lists."""
    pairs = read_pairs(given or SHIPPED_LISTS, given, [])
    notes.append("splits of FaceForensics++ numbers are those of its official lists")
    return {number: split for split, listed in pairs.items() for pair in listed for number in pair}


def _add_generator(
    finds: Finds, base: str, kind: str, generator: str, listed: dict[str, str]
) -> None:
    listing = list_media(finds.root, base)
    finds.ignored += listing.ignored
    tail = f"_{generator}_{kind}".casefold()
    for relative in listing.media:
        stem = stem_of(relative)
        if not stem.casefold().endswith(tail):
            finds.unlisted.append(relative)
            continue
        identity = stem[: -len(tail)]
        method = f"{generator}-{kind}"
        path = finds.root / relative
        finds.add(_record(f"{method}/{identity}", path, FAKE, method, identity, listed))


def _record(
    key: str, path: Path, label: int, method: str, identity: str, listed: dict[str, str]
) -> Video:
    split = listed.get(identity)
    return Video(
        dataset="synthforensics",
        key=key,
        video_id="",
        path=path,
        label=label,
        method=method,
        split=split or "none",
        split_origin="official" if split else "derived",
        target=identity,
        # No frame of a made video is a frame of the real one, so there is no pair to cut alike.
        group=identity,
        video_fake=label == FAKE,
    )


def _add_reals(finds: Finds, version: str, listed: dict[str, str]) -> None:
    given, beside = finds.options.reals, finds.root.parent
    roots = (given,) if given else (data_root("ffpp"), beside / "ffpp", beside / "FaceForensics++")
    wanted = {video.target for video in finds.videos}
    found: dict[str, Path] = {}
    for root in roots:
        root = nested_root(root.absolute(), ffpp_tree.MARKERS)
        base = child(root, "original_sequences")
        for level in (child(base, "youtube"), child(base, "actors")):
            listing = ffpp_tree.list_leaf(root, (level,), version)
            for relative in listing.media:
                found.setdefault(stem_of(relative), root / relative)
    for identity in sorted(wanted & found.keys()):
        path = found[identity]
        finds.add(_record(f"real/{identity}", path, REAL, "real", identity, listed))
    if lacking := len(wanted - found.keys()):
        finds.notes.append(
            f"{lacking} of {len(wanted)} reals are not here: they are FaceForensics++'s and "
            f"DeepFakeDetection's in {version}; name their root with --reals"
        )


SOURCE = Source(
    name="synthforensics",
    title="SynthForensics",
    kind="whole synthetic videos of people",
    size="20,445 fakes of 15 generators in each of four versions; 1,363 reals of FaceForensics++ "
    "and DeepFakeDetection",
    access="Hugging Face, SynthForensics/SynthForensics",
    licence="CC BY-NC 4.0",
    tasks="detection of synthetic video",
    tree="""\
<root>/
  T2V/videos/{raw,canonical,crf23,crf40}/<generator>/<id>_<generator>_t2v.mp4
  I2V/videos/...
  (reals: FaceForensics++ with actors/ under --reals)""",
    labels="fakes; the reals are other data sets'",
    splits="numbers of FaceForensics++ as its official lists, the rest derived by recording",
    discover=discover,
)

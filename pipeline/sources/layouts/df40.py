"""DF40: forty methods on FaceForensics++ and Celeb-DF, fakes only; frames as its authors cut them,
or the videos of its swaps and reenactments.

Layout as the release and its preprocessing have it: training data are of FaceForensics++, test data
of both, in `ff/` and `cdf/`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds, carve_val
from unmask.pipeline.sources.listing import list_media, nested_root, strip_extension, subfolders
from unmask.pipeline.sources.splits import joined_groups

# Folders of the release -> split.
TREES = {"DF40_train": "train", "train": "train", "DF40": "test", "test": "test"}
LEVELS = frozenset({"frames", "videos", "images"})
BESIDE = frozenset({"landmarks", "masks"})
# The nine methods on other people's pictures bring reals of their own.
LABELS = {"real": REAL, "fake": FAKE}
# Domain -> where its reals lie below their root.
REALS = {
    "ff": "FaceForensics++/original_sequences/youtube/c23",
    "cdf": "Celeb-DF-v2/Celeb-real",
}
FF_NAME = re.compile(r"([0-9]{3})(?:_([0-9]{3}))?")
CDF_NAME = re.compile(r"(id[0-9]+)_(?:(id[0-9]+)_)?([0-9]+)")


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every video or folder of frames of every method; the reals are those of FaceForensics++ and
    Celeb-DF as the authors offer them, beside the fakes or under --reals.

    Official is what the release calls train and test; val is carved out of train.
    """
    root = nested_root(root, ("DF40_train", "DF40"))
    finds = Finds("df40", root, options)
    trees = {name: split for name, split in TREES.items() if (root / name).is_dir()}
    trees = trees or {"": "train" if root.name.casefold().endswith("train") else "test"}
    for name, split in trees.items():
        for method in subfolders(root / name):
            if method not in ("FaceForensics++", "Celeb-DF-v2"):
                _add_method(finds, name, method, split)
    for domain, place in REALS.items():
        _add_reals(finds, domain, place)
    _join(finds)
    if options.split_ratio is None and any(video.split == "train" for video in finds.videos):
        carve_val(finds)
    return finds.dataset()


def _add_method(finds: Finds, tree: str, method: str, split: str) -> None:
    base = f"{tree}/{method}" if tree else method
    listing = list_media(finds.root, base)
    finds.ignored += listing.ignored
    for relative in listing.media:
        inner = relative[len(base) + 1 :].split("/")
        if BESIDE & {part.casefold() for part in inner[:-1]}:
            finds.ignored.append((relative, "of a face beside its frames"))
            continue
        domain = next((part for part in inner[:-1] if part in REALS), None)
        label = next((LABELS[p.casefold()] for p in inner[:-1] if p.casefold() in LABELS), FAKE)
        kept = [part for part in inner if part not in LEVELS]
        key = "/".join([split, method, *kept])
        finds.add(_record(finds, strip_extension(key), relative, label, method, split, domain))


def _record(
    finds: Finds,
    key: str,
    relative: str,
    label: int,
    method: str,
    split: str,
    domain: str | None,
) -> Video:
    derived = finds.options.split_ratio is not None
    target, source, original = (
        _people(key.rpartition("/")[2], domain) if label == FAKE else (None,) * 3
    )
    return Video(
        dataset="df40",
        key=key,
        video_id="",
        path=finds.root / relative,
        label=label,
        method="real" if label == REAL else method,
        split="none" if derived else split,
        split_origin="derived" if derived else "official",
        target=target,
        source=source,
        pair=original,
        group=key,
        video_fake=label == FAKE,
    )


def _people(stem: str, domain: str | None) -> tuple[str | None, str | None, str | None]:
    """Target, donor and key of the original that a fake's name tells; the target comes first."""
    if domain != "cdf" and (match := FF_NAME.fullmatch(stem)):
        return match[1], match[2], f"ff/{match[1]}"
    if domain != "ff" and (match := CDF_NAME.fullmatch(stem)):
        return match[1], match[2], f"cdf/{match[1]}_{match[3]}"
    return None, None, None


def _add_reals(finds: Finds, domain: str, place: str) -> None:
    """Reals that a fake here was made from or took a face of; in the split of those fakes."""
    root = finds.options.reals or finds.root
    listing = list_media(root, place)
    split_of: dict[str, str] = {}
    for video in finds.videos:
        donor = f"ff/{video.source}" if domain == "ff" and video.source else None
        for key in (video.pair, donor):
            # A recording of both splits is tested.
            if key and (video.split == "test" or key not in split_of):
                split_of[key] = video.split
    found = 0
    for relative in listing.media:
        kept = [part for part in relative[len(place) + 1 :].split("/") if part not in LEVELS]
        key = strip_extension("/".join([domain, *kept]))
        if key in split_of:
            video = _record(finds, key, relative, REAL, "real", split_of[key], domain)
            finds.add(replace(video, path=root.absolute() / relative, target=kept[-1]))
            found += 1
        else:
            finds.unlisted.append(relative)
    if not found and any(key.startswith(f"{domain}/") for key in split_of):
        finds.notes.append(f"no reals of {domain}: {place} is not below {root.name!r}; see --reals")


def _join(finds: Finds) -> None:
    """One group of all that shares a recording, so that a derived split keeps it together."""
    links = []
    for video in finds.videos:
        links.append((video.key, video.pair or video.key))
        if video.source and video.pair and video.pair.startswith("ff/"):
            links.append((video.key, f"ff/{video.source}"))
    groups = joined_groups(links)
    finds.videos = [replace(video, group=str(groups[video.key])) for video in finds.videos]


SOURCE = Source(
    name="df40",
    title="DF40",
    kind="picture folders of 256 px faces, or videos of swaps and reenactments",
    size="40 methods, about 1.1M fakes; reals are FaceForensics++'s and Celeb-DF's",
    access="form at github.com/YZY-stack/DF40",
    licence="CC BY-NC 4.0",
    tasks="detection across methods",
    tree="""\
<root>/
  DF40_train/<method>/frames/<target>_<source>/000.png     (or train/<method>/<...>.mp4)
  DF40/<method>/{ff,cdf}/frames/<target>_<source>/000.png  (or test/...)
  DF40/<method>/{real,fake}/...                            (the nine methods on other pictures)
  FaceForensics++/original_sequences/youtube/c23/frames/<target>/
  Celeb-DF-v2/Celeb-real/frames/id0_0000/                  (both may lie under --reals)""",
    labels="fakes, but what lies in a method's own real/, and the reals beside",
    splits="the release's train and test; val is carved from train by recordings",
    discover=discover,
)

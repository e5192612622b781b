"""DFDM: five face swappers of one family on the same Celeb-DF recordings, at three compressions.

A fake's name tells everything, so any nesting of the three archives is read.
"""

from __future__ import annotations

import re
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Source, SourceOptions, data_root
from unmask.pipeline.sources.finds import Finds, nearest
from unmask.pipeline.sources.listing import child, list_media, stem_of

NAME = re.compile(r"(id[0-9]+)_(id[0-9]+)_([0-9]+)_[0-9]?([a-z][a-z0-9_-]*)", re.IGNORECASE)
REAL_NAME = re.compile(r"(id[0-9]+)_[0-9]+")
MODELS = {
    "original": "FaceSwap",
    "faceswap": "FaceSwap",
    "lightweight": "LightWeight",
    "iae": "IAE",
    "dfaker": "DFaker",
    "dfl-h128": "DFL-H128",
    "dfl_h128": "DFL-H128",
}
LEVEL = re.compile(r"(?:.*[_-])?c(?:rf)?_?(0|10|23)", re.IGNORECASE)
COMPRESSIONS = {"raw": "crf0", "crf0": "crf0", "crf10": "crf10", "c23": "crf23", "crf23": "crf23"}


def discover(root: Path, options: SourceOptions) -> Dataset:
    """The fakes of one compression, and the Celeb-real recordings they were made from, beside them
    or under --reals (a root of Celeb-DF v2).

    Raises: UsageError where the fakes have other compressions than the one asked for.
    """
    finds = Finds("dfdm", root, options)
    finds.people = "keep"
    wanted = COMPRESSIONS[nearest(options.compression, COMPRESSIONS, "compression")]
    listing = list_media(root)
    finds.ignored += listing.ignored
    there: dict[str, int] = {}
    reals: dict[str, Path] = {}
    for relative in listing.media:
        stem = stem_of(relative)
        level = _level(relative)
        match = NAME.fullmatch(stem)
        if match and match[4].casefold() in MODELS:
            there[level] = there.get(level, 0) + 1
            if level == wanted:
                finds.add(_fake(finds, relative, stem, match, level))
        elif REAL_NAME.fullmatch(stem) and "Celeb-real" in relative.split("/"):
            reals[stem] = root / relative
        else:
            finds.unlisted.append(relative)
    others = sorted(set(there) - {wanted})
    if there and wanted not in there:
        raise UsageError(
            f"dfdm: no fakes of {wanted} here, but of {', '.join(others)}: see --compression"
        )
    if others:
        finds.notes.append(f"only {wanted} is used; --compression names {', '.join(others)}")
    _add_reals(finds, reals or _beside(finds))
    return finds.dataset()


def _level(relative: str) -> str:
    """The compression that a folder on the way names; crf23 where none does."""
    for part in relative.split("/")[:-1]:
        if match := LEVEL.fullmatch(part):
            return f"crf{match[1]}"
    return "crf23"


def _fake(finds: Finds, relative: str, stem: str, match: re.Match[str], level: str) -> Video:
    model = MODELS[match[4].casefold()]
    return Video(
        dataset="dfdm",
        key=f"{model}/{level}/{stem}",
        video_id="",
        path=finds.root / relative,
        label=FAKE,
        method=model,
        compression=level,
        target=match[1],
        source=match[2],
        pair=f"Celeb-real/{match[1]}_{match[3]}",
        group=match[1],
        video_fake=True,
    )


def _beside(finds: Finds) -> dict[str, Path]:
    """Celeb-DF v2's recordings: under --reals, where it lies by default, or beside this dataset."""
    given = finds.options.reals
    beside = finds.root.parent
    for root in (given,) if given else (data_root("celebdf2"), beside / "Celeb-DF-v2"):
        base = child(root, "Celeb-real")
        if base.is_dir():
            found = list_media(base.absolute())
            return {stem_of(relative): base.absolute() / relative for relative in found.media}
    finds.notes.append("no reals: they are Celeb-DF v2's Celeb-real; name its root with --reals")
    return {}


def _add_reals(finds: Finds, reals: dict[str, Path]) -> None:
    """Recordings that a fake was made from; those of a list that the disk lacks are missing."""
    made_from = {video.pair.rpartition("/")[2] for video in finds.videos if video.pair}
    for stem in sorted(made_from) if reals else ():
        path = reals.get(stem, finds.root / "Celeb-real" / f"{stem}.mp4")
        person = stem.split("_")[0]
        video = Video(
            dataset="dfdm",
            key=f"Celeb-real/{stem}",
            video_id="",
            path=path,
            label=REAL,
            target=person,
            group=person,
            video_fake=False,
        )
        finds.add(video, present=stem in reals)


SOURCE = Source(
    name="dfdm",
    title="DFDM (Deepfakes from Different Models)",
    kind="videos",
    size="6,450 fakes of 5 models at three compressions; reals are Celeb-DF v2's",
    access="link at github.com/shanface33/Deepfake_Model_Attribution",
    licence="research",
    tasks="detection, attribution to a model",
    tree="""\
<root>/
  DFDM_crf0/  DFDM_crf10/  DFDM_crf23/     <model>/.../id28_id20_0008_4dfaker.mp4
  Celeb-real/id28_0008.mp4                 (or Celeb-DF v2 under --reals)""",
    labels="fakes by their names (target, donor, recording, model), reals of Celeb-real",
    splits="none official: by target person, 70/15/15; --strict drops fakes whose donor is in "
    "another split",
    discover=discover,
)

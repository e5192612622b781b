"""DeepfakeTIMIT: GAN swaps in two qualities. The release holds NO reals; those are VidTIMIT's
picture folders.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds
from unmask.pipeline.sources.listing import (
    child,
    list_media,
    natural,
    nested_root,
    stem_of,
    subfolders,
)

QUALITIES = ("higher_quality", "lower_quality")
NAME = re.compile(r"(.+)-video-(.+)")


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Fakes of both qualities, and the reals they were made from where VidTIMIT lies beside or in
    `options.reals`.

    Everything in higher_quality and lower_quality is fake, whoever's folder it is in.
    """
    above = root
    root = nested_root(root, QUALITIES)
    finds = Finds("dftimit", root, options)
    fakes = [video for quality in QUALITIES for video in _fakes(finds, quality)]
    for video in fakes:
        finds.add(video)
    listing = list_media(root)
    finds.unlisted = [path for path in listing.videos if path.split("/")[0] not in QUALITIES]
    _add_reals(finds, fakes, above)
    finds.expected = [Expected(320, method=quality) for quality in QUALITIES]
    return finds.dataset()


def _fakes(finds: Finds, quality: str) -> list[Video]:
    listing = list_media(finds.root, quality)
    # The original sound lies beside every video as .wav.
    finds.ignored += [item for item in listing.ignored if not item[0].endswith(".wav")]
    fakes = []
    for relative in listing.videos:
        match = NAME.fullmatch(stem_of(relative))
        if match is None or relative.count("/") != 2:
            finds.unlisted.append(relative)
            continue
        subject, (sentence, donor) = relative.split("/")[1], match.groups()
        group = "-".join(sorted((subject, donor)))
        key, path = f"{quality}/{subject}/{stem_of(relative)}", finds.root / relative
        video = _record(finds, key, path, FAKE, quality, subject, group)
        fakes.append(replace(video, source=donor, pair=f"VidTIMIT/{subject}/{sentence}"))
    return fakes


def _record(
    finds: Finds, key: str, path: Path, label: int, method: str, subject: str, group: str
) -> Video:
    derived = finds.options.split_ratio is not None
    return Video(
        dataset=finds.name,
        key=key,
        video_id="",
        path=path,
        label=label,
        method=method,
        split="none" if derived else "test",
        split_origin="derived" if derived else "all-test",
        target=subject,
        group=group,
        video_fake=label == FAKE,
        audio_fake=False,
    )


def _add_reals(finds: Finds, fakes: list[Video], above: Path) -> None:
    """The recordings of VidTIMIT that some fake was made from; 11 of its 43 subjects have no
    fakes.
    """
    reals = _vidtimit(finds, above)
    if reals is None:
        finds.notes.append(
            "no reals: the release holds fakes only; get VidTIMIT and put it beside, or name it "
            "with --reals"
        )
        return
    wanted = {video.pair: video for video in fakes}
    for pair, fake in sorted(wanted.items(), key=lambda item: natural(item[0] or "")):
        _, subject, sentence = str(pair).split("/")
        folder = reals / subject / "video" / sentence
        real = _record(finds, str(pair), folder, REAL, "real", subject, fake.group)
        # Pictures are called 001, 002, ...; the AVI of the fake counts from 0.
        finds.add(replace(real, first_frame=1), present=folder.is_dir())
    finds.notes.append(
        f"reals from VidTIMIT ({len(wanted)} recordings): pictures, the fakes are AVI; a known "
        "shortcut"
    )


def _vidtimit(finds: Finds, above: Path) -> Path | None:
    """The folder with VidTIMIT's subjects: --reals, or a folder VidTIMIT in or beside the root."""
    given = finds.options.reals
    for folder in (
        (given,)
        if given
        else (
            child(above, "VidTIMIT"),
            child(finds.root, "VidTIMIT"),
            child(finds.root.parent, "VidTIMIT"),
        )
    ):
        if folder and any((folder / name / "video").is_dir() for name in subfolders(folder)):
            return folder
    return None


SOURCE = Source(
    name="dftimit",
    title="DeepfakeTIMIT with VidTIMIT",
    kind="videos (fakes) and picture folders (reals)",
    size="2 x 320 fakes of 32 subjects; reals are VidTIMIT's",
    access="Idiap EULA; VidTIMIT from conradsanderson.id.au",
    licence="research",
    tasks="detection, a small cross-dataset test",
    tree="""\
<root>/
  higher_quality/<subject>/<sentence>-video-<donor>.avi
  lower_quality/...
VidTIMIT/<subject>/video/<sentence>/001, 002, ...     (in or beside the root, or --reals DIR)""",
    labels="everything in higher_quality and lower_quality is fake; reals: the VidTIMIT "
    "recordings they came from",
    splits="all test; --split-ratio splits by pair of subjects",
    discover=discover,
    aliases=("deepfaketimit", "timit"),
)

"""Deepfake-Eval-2024: videos that went round in 2024, labelled by hand; one table, one folder."""

from __future__ import annotations

from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import Video
from unmask.pipeline.sources.dataset import Dataset, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds, carve_val, label_of
from unmask.pipeline.sources.listing import list_media, nested_root, strip_extension
from unmask.pipeline.sources.metadata import find_file, read_rows

LISTS = ("video-metadata-publish-with-links.csv", "video-metadata-publish.csv")
FOLDER = "video-data"
FILE, PICTURE, VOICE, SPLIT = (
    "Filename",
    "Video Ground Truth",
    "Audio Ground Truth",
    "Finetuning Set",
)
TRUTH = {"real": False, "fake": True}
SPLITS = {"train": "train", "test": "test"}


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every row that says real or fake of the modality asked for, joined with the disk.

    Official is the owners' finetuning set, train and test; val is carved from train.
    Raises: UsageError without the table.
    """
    root = nested_root(root, LISTS)
    finds = Finds("deepfakeeval", root, options)
    path = find_file(LISTS, root)
    if path is None:
        raise UsageError(f"deepfakeeval: no {' or '.join(LISTS)} in {str(root)!r}")
    listing = list_media(root)
    finds.ignored += listing.ignored
    place = {relative.rpartition("/")[2]: relative for relative in listing.media}
    unknown = bad = 0
    for _, row in read_rows(path):
        file = row.get(FILE, "").replace("\\", "/").rpartition("/")[2]
        if not file:
            bad += 1
            continue
        relative = place.pop(file, None)
        video = _record(finds, row, file, relative)
        if video is None:
            unknown += 1
        else:
            finds.add(video, present=relative is not None)
    finds.unlisted += place.values()
    if unknown:
        finds.notes.append(f"{unknown} rows say neither real nor fake of this modality; not used")
    if bad:
        finds.problems.append(f"{path.name}: {bad} rows without {FILE}")
    if options.split_ratio is None and any(video.split == "train" for video in finds.videos):
        carve_val(finds)
    return finds.dataset()


def _record(finds: Finds, row: dict[str, str], file: str, relative: str | None) -> Video | None:
    picture, voice = (TRUTH.get(row.get(name, "").casefold()) for name in (PICTURE, VOICE))
    mode = finds.options.label_mode
    asked = {"visual": (picture,), "audio": (voice,), "any": (picture, voice)}[mode]
    # One modality that is fake settles "any"; a real one does not.
    if all(part is None for part in asked) or (None in asked and True not in asked):
        return None
    split = SPLITS.get(row.get(SPLIT, "").casefold())
    split = None if finds.options.split_ratio is not None else split
    label = label_of(picture, voice, mode)
    key = strip_extension(file)
    return Video(
        dataset="deepfakeeval",
        key=key,
        video_id="",
        path=finds.root / (relative or f"{FOLDER}/{file}"),
        label=label,
        method="in the wild" if picture or voice else "real",
        split=split or "none",
        split_origin="official" if split else "derived",
        # Nobody knows who made what, or of whom.
        group=key,
        video_fake=picture,
        audio_fake=voice,
    )


SOURCE = Source(
    name="deepfakeeval",
    title="Deepfake-Eval-2024 (videos)",
    kind="audio-visual videos from social media",
    size="44 hours in 52 languages",
    access="gated Hugging Face, nuriachandra/Deepfake-Eval-2024",
    licence="CC BY-SA 4.0, not for harm",
    tasks="detection in the wild, audio-visual detection",
    tree="""\
<root>/
  video-metadata-publish-with-links.csv     Filename, Video Ground Truth, ..., Finetuning Set
  video-data/<Filename>""",
    labels="Video Ground Truth, Audio Ground Truth or both by --label-mode; Unknown is left out",
    splits="official train and test; val is carved from train",
    discover=discover,
    aliases=("deepfakeeval2024",),
)

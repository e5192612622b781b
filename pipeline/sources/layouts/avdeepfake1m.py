"""AV-Deepfake1M and AV-Deepfake1M++: one JSON list per labelled split; names differ from LAV-DF,
stems repeat in every folder. ++ is of three corpora and names the model of each picture.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.fake_spans import clipped
from unmask.pipeline.sources.finds import Finds, label_of
from unmask.pipeline.sources.listing import list_media, nested_root, strip_extension
from unmask.pipeline.sources.metadata import read_json, read_lines

LISTS = {"train": "train_metadata.json", "val": "val_metadata.json"}
# modify_type -> (picture fake, voice fake)
TYPES = {
    "real": (False, False),
    "visual_modified": (True, False),
    "audio_modified": (False, True),
    "both_modified": (True, True),
}
SPANS = {"visual": "visual_fake_segments", "audio": "audio_fake_segments", "any": "fake_segments"}
SPEAKER = re.compile(r"id[0-9]+")
# Of ++: silent_videos/subject_17_<clip>/
SUBJECT = re.compile(r"(subject_[0-9]+)_.*")
TEST_LISTS = ("test_files.txt", "testA_files.txt", "testB_files.txt")
COUNTS = {
    "avdeepfake1m": [Expected(746_180, split="train"), Expected(57_340, split="val")],
    "avdeepfake1mpp": [Expected(77_326, split="val")],
}


def discover(name: str, root: Path, options: SourceOptions) -> Dataset:
    """Every video of the train and val metadata; the labels of test are not public, so it cannot be
    used.

    name: of the data set.

    Raises: UsageError when neither metadata file is there.
    """
    root = nested_root(root, LISTS.values())
    present = {split: root / name for split, name in LISTS.items() if (root / name).is_file()}
    if not present:
        raise UsageError(f"{name}: no {' or '.join(LISTS.values())} in {str(root)!r}")
    finds = Finds(name, root, options)
    for split, path in present.items():
        _add_split(finds, split, path)
    for split in LISTS.keys() - present.keys():
        finds.notes.append(f"{LISTS[split]} is not there: no {split} videos")
    lists = [root / name for name in TEST_LISTS if (root / name).is_file()]
    if lists:
        tests = sum(len(read_lines(path)) for path in lists)
        finds.notes.append(f"{tests} test videos are not used: their labels are not public")
    finds.expected = COUNTS[name]
    return finds.dataset()


def _add_split(finds: Finds, split: str, path: Path) -> None:
    listing = list_media(finds.root, split)
    finds.ignored += listing.ignored
    found = set(listing.videos)
    bad = wrong = 0
    for row in read_json(path, list):
        if (
            not isinstance(row, dict)
            or not isinstance(row.get("modify_type"), str)
            or row["modify_type"] not in TYPES
            or not isinstance(row.get("file"), str)
        ):
            bad += 1
            continue
        relative = _below(split, row["file"])
        video, beyond = _record(finds, split, relative, row)
        wrong += beyond
        finds.add(video, present=relative in found)
        found.discard(relative)
    finds.unlisted += found
    if bad:
        finds.problems.append(f"{path.name}: {bad} rows without file or a known modify_type")
    if wrong:
        finds.notes.append(
            f"{path.name}: {wrong} fake segments are malformed or empty; left out or clipped"
        )


def _below(split: str, file: str) -> str:
    """`file` is relative to the split folder in some releases and to the root in others."""
    return file if file.startswith(f"{split}/") else f"{split}/{file}"


def _record(finds: Finds, split: str, relative: str, row: dict) -> tuple[Video, int]:
    mode = finds.options.label_mode
    video_fake, audio_fake = TYPES[row["modify_type"]]
    label = label_of(video_fake, audio_fake, mode)
    spans, wrong = clipped(row.get(SPANS[mode]), None)
    derived = finds.options.split_ratio is not None
    original = _below(split, row["original"]) if isinstance(row.get("original"), str) else None
    # The original of a real is a file of the corpus it was taken from, which is not here.
    original = original if original != relative and (video_fake or audio_fake) else None
    speaker = _person(relative)
    model = row.get("video_model") if video_fake else row.get("audio_model") if audio_fake else None
    named = finds.name == "avdeepfake1mpp" and isinstance(model, str) and model
    return Video(
        dataset=finds.name,
        key=strip_extension(relative),
        video_id="",
        path=finds.root / relative,
        label=label,
        method=model if named else row["modify_type"],
        split="none" if derived else split,
        split_origin="derived" if derived else "official",
        target=speaker,
        pair=strip_extension(original) if original else None,
        group=speaker or strip_extension(original or relative),
        video_fake=video_fake,
        audio_fake=audio_fake,
        fake_spans=spans if label == FAKE else (),
    ), wrong


def _person(relative: str) -> str | None:
    """Who is seen: VoxCeleb's speaker, LRS3's film or the subject of a silent video."""
    parts = relative.split("/")
    for before, part in zip(["", *parts], parts, strict=False):
        if SPEAKER.fullmatch(part):
            return part
        if before == "lrs3":
            return f"lrs3-{part}"
        if before == "silent_videos" and (match := SUBJECT.fullmatch(part)):
            return match[1]
    return None


SOURCE = Source(
    name="avdeepfake1m",
    title="AV-Deepfake1M",
    kind="audio-visual videos",
    size="286,721 reals, 860,039 fakes",
    access="EULA of the 1M-Deepfakes challenge, gated Hugging Face",
    licence="CC BY-NC 4.0",
    tasks="temporal localisation, audio-visual detection",
    tree="""\
<root>/
  train_metadata.json   train/<idXXXXX>/<youtube id>/<utterance>/real.mp4, fake_video_..., ...
  val_metadata.json     val/...
  test_files.txt        test/...        (no public labels)""",
    labels="modify_type by --label-mode; spans of the same modality (visual, audio or all "
    "segments)",
    splits="official train and val; test has no labels; groups are speakers",
    discover=partial(discover, "avdeepfake1m"),
    aliases=("avd1m",),
)

PLUS = Source(
    name="avdeepfake1mpp",
    title="AV-Deepfake1M++",
    kind="audio-visual videos",
    size="about 2M videos; labelled val of 20,220 reals and 57,106 fakes",
    access="EULA of the 2025 1M-Deepfakes challenge, gated Hugging Face, archives to be joined",
    licence="CC BY-NC 4.0",
    tasks="temporal localisation, audio-visual detection",
    tree="""\
<root>/
  train_metadata.json   train/{vox_celeb_2/<idXXXXX>,lrs3,silent_videos}/.../real.mp4, fake_...
  val_metadata.json     val/...
  testA_files.txt       testB_files.txt        (no public labels)""",
    labels="modify_type by --label-mode; spans of the same modality; the method is the model of "
    "the picture, else of the voice",
    splits="official train and val; test has no labels; groups are speakers, films or subjects",
    discover=partial(discover, "avdeepfake1mpp"),
    aliases=("avdeepfake1m++", "avd1mpp"),
)

SOURCES = (SOURCE, PLUS)

"""LAV-DF: words changed in voice, picture or both; one JSON list with the fake periods in
seconds.
"""

from __future__ import annotations

import reprlib
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.fake_spans import clipped
from unmask.pipeline.sources.finds import Finds, label_of
from unmask.pipeline.sources.listing import list_media, nested_root, stem_of, strip_extension
from unmask.pipeline.sources.metadata import find_file, read_json, truth_of

LISTS = ("metadata.min.json", "metadata.json")
SPLITS = {"train": "train", "dev": "val", "val": "val", "test": "test"}


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every video of the metadata; files it does not name have no label and are unlisted, never
    real.

    Raises: UsageError without the metadata.
    """
    root = nested_root(root, LISTS)
    path = find_file(LISTS, root)
    if path is None:
        raise UsageError(f"lavdf: no {' or '.join(LISTS)} in {str(root)!r}")
    finds = Finds("lavdf", root, options)
    found: set[str] = set()
    for folder in ("train", "dev", "test"):
        listing = list_media(root, folder)
        found.update(listing.videos)
        finds.ignored += listing.ignored
    listed = read_json(path, list)
    rows = [row for row in listed if _is_row(row)]
    if bad := len(listed) - len(rows):
        finds.problems.append(f"{path.name}: {bad} rows without a file or a known split")
    mute = [row["file"] for row in rows if None in _modified(row)]
    if mute:
        finds.problems.append(
            f"{path.name}: {len(mute)} rows are left out, modify_video or modify_audio is neither "
            f"true nor false, e.g. of {reprlib.repr(mute[0])}"
        )
    rows = [row for row in rows if None not in _modified(row)]
    # Stems are unique over all splits, and `original` may come without its folder.
    keys = {stem_of(row["file"]): strip_extension(row["file"]) for row in rows}
    beyond = 0
    for row in rows:
        video, wrong = _record(finds, row, keys)
        beyond += wrong
        finds.add(video, present=row["file"] in found)
        found.discard(row["file"])
    finds.unlisted = list(found)
    if beyond:
        finds.notes.append(f"{beyond} fake periods reach outside their video; clipped to it")
    finds.expected = [
        Expected(36_431, method="real"),
        *(Expected(n, split=s) for s, n in COUNTS.items()),
    ]
    return finds.dataset()


def _is_row(row: object) -> bool:
    return (
        isinstance(row, dict)
        and isinstance(row.get("file"), str)
        and isinstance(row.get("split"), str)
        and row["split"] in SPLITS
    )


def _modified(row: dict) -> tuple[bool | None, bool | None]:
    """Whether picture and voice were changed; None where the row does not say."""
    return truth_of(row.get("modify_video")), truth_of(row.get("modify_audio"))


def _record(finds: Finds, row: dict, keys: dict[str, str]) -> tuple[Video, int]:
    video_fake, audio_fake = _modified(row)
    label = label_of(video_fake, audio_fake, finds.options.label_mode)
    spans, wrong = clipped(row.get("fake_periods"), row.get("duration"))
    original = stem_of(row["original"]) if isinstance(row.get("original"), str) else None
    derived = finds.options.split_ratio is not None
    return Video(
        dataset=finds.name,
        key=strip_extension(row["file"]),
        video_id="",
        path=finds.root / row["file"],
        label=label,
        method={(0, 0): "real", (1, 0): "visual", (0, 1): "audio", (1, 1): "both"}[
            video_fake, audio_fake
        ],
        split="none" if derived else SPLITS[row["split"]],
        split_origin="derived" if derived else "official",
        pair=keys.get(original, original) if original else None,
        group=original or stem_of(row["file"]),
        video_fake=video_fake,
        audio_fake=audio_fake,
        # The periods do not say which modality: for a video that counts as real they would
        # contradict the label.
        fake_spans=spans if label == FAKE else (),
    ), wrong


COUNTS = {"train": 78_703, "val": 31_501, "test": 26_100}

SOURCE = Source(
    name="lavdf",
    title="LAV-DF (Localized Audio Visual DeepFake)",
    kind="audio-visual videos, 224 px face crops",
    size="36,431 reals, 99,873 fakes",
    access="terms, then Hugging Face ControlNet/LAV-DF",
    licence="CC BY-NC 4.0; VoxCeleb2 terms apply too",
    tasks="temporal localisation, audio-visual detection",
    tree="""\
<root>/
  metadata.json or metadata.min.json
  train/000469.mp4 ...   dev/...   test/000001.mp4 ...""",
    labels="modify_video and modify_audio by --label-mode; spans from fake_periods; files "
    "without metadata go unused",
    splits="official train, dev (val), test; groups are one real and its fakes",
    discover=discover,
    aliases=("lavdeepfake",),
)

"""TVIL: objects removed from YouTube-VOS videos by four inpainting methods. NOT a face dataset."""

from __future__ import annotations

import reprlib
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Source, SourceOptions
from unmask.pipeline.sources.fake_spans import are_spans, clipped
from unmask.pipeline.sources.finds import Finds
from unmask.pipeline.sources.listing import list_media, nested_root, stem_of
from unmask.pipeline.sources.metadata import find_file, read_json

SPLITS = {"train": "train", "valid": "val", "val": "val", "validation": "val", "test": "test"}
METHODS = ("E2FGVI", "FGT", "FuseFormer", "STTN")


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every video of annotations/metadata.json; one with fake periods is fake.

    Raises: UsageError without it.
    """
    root = nested_root(root, ("annotations",))
    path = find_file(("metadata.json",), root / "annotations", root)
    if path is None:
        raise UsageError(f"tvil: no annotations/metadata.json in {str(root)!r}")
    finds = Finds("tvil", root, options)
    listing = list_media(root)
    finds.ignored = [item for item in listing.ignored if not item[0].endswith((".json", ".npy"))]
    found = {stem_of(relative): relative for relative in listing.media}
    used, wrong = set(), 0
    for name, row in read_json(path, dict).items():
        if not isinstance(row, dict) or str(row.get("split")).lower() not in SPLITS:
            finds.problems.append(f"{path.name}: {name!r} has no split of {', '.join(SPLITS)}")
            continue
        file = str(row.get("file") or f"{name}.mp4")
        relative = found.get(stem_of(file)) or found.get(name)
        periods = row.get("fake_periods")
        video, beyond = _record(finds, name, row, relative, file)
        if not are_spans(periods) or (periods and not video.fake_spans):
            finds.problems.append(
                f"{path.name}: {name!r} is left out, its fake_periods {reprlib.repr(periods)} are "
                "no list of (start, end) inside the video, so nobody knows whether it is fake"
            )
            continue
        wrong += beyond
        used.add(relative)
        finds.add(video, present=relative is not None)
    finds.unlisted = [relative for relative in listing.media if relative not in used]
    if wrong:
        finds.notes.append(f"{wrong} fake periods reach outside their video; clipped to it")
    finds.notes.append("not a face dataset: most videos end as no_face in extraction")
    return finds.dataset()


def _record(
    finds: Finds, name: str, row: dict, relative: str | None, file: str
) -> tuple[Video, int]:
    spans, wrong = clipped(row.get("fake_periods"), row.get("duration"))
    derived = finds.options.split_ratio is not None
    words = {part.casefold() for part in (relative or file).split("/")}
    method = next((m for m in METHODS if m.casefold() in words), "inpainting")
    return Video(
        dataset=finds.name,
        key=name,
        video_id="",
        path=finds.root / (relative or file),
        label=FAKE if spans else REAL,
        method=method if spans else "real",
        split="none" if derived else SPLITS[str(row["split"]).lower()],
        split_origin="derived" if derived else "official",
        # `5ef6573a99_result`: the part before the underscore is the YouTube-VOS video.
        group=name.split("_")[0],
        video_fake=bool(spans),
        fake_spans=spans,
    ), wrong


SOURCE = Source(
    name="tvil",
    title="TVIL (temporal video inpainting localisation)",
    kind="videos without faces",
    size="see its metadata",
    access="links at github.com/ymhzyj/UMMAFormer",
    licence="academic use",
    tasks="temporal localisation on full frames",
    tree="""\
<root>/
  annotations/metadata.json
  any folders with the videos, found by name""",
    labels="fake where fake_periods is not empty; spans in seconds",
    splits="official train, valid (val), test",
    discover=discover,
)

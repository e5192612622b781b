"""DFDC preview (DFDCP): one dataset.json keyed by relative path; its fakes name the DONOR first,
unlike FF++.
"""

from __future__ import annotations

from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds, carve_val
from unmask.pipeline.sources.listing import list_media, nested_root, stem_of, strip_extension
from unmask.pipeline.sources.metadata import read_json

LIST = "dataset.json"


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every video of dataset.json, matched by its whole relative path.

    `<swapped>_<target>_<setting>_<clip>`: the first number is the donor; the pair is the rest of
    the name.
    """
    root = nested_root(root, (LIST,))
    if not (root / LIST).is_file():
        raise UsageError(f"dfdcp: no {LIST} in {str(root)!r}")
    finds = Finds("dfdcp", root, options)
    listing = list_media(root)
    finds.ignored = [item for item in listing.ignored if item[0] != LIST]
    found = set(listing.videos)
    rows = read_json(root / LIST, dict)
    reals = {
        strip_extension(key).rpartition("/")[2]: strip_extension(key)
        for key, row in rows.items()
        if _is_real(row)
    }
    for relative, row in rows.items():
        video = _record(finds, relative, row, reals)
        if video:
            finds.add(video, present=relative in found)
            found.discard(relative)
    finds.unlisted = list(found)
    if options.split_ratio is None:
        carve_val(finds)
    finds.expected = [Expected(1131, REAL), Expected(4119, FAKE)]
    return finds.dataset()


def _is_real(row: object) -> bool:
    return isinstance(row, dict) and str(row.get("label")).lower() == "real"


def _record(finds: Finds, relative: str, row: object, reals: dict[str, str]) -> Video | None:
    label = str(row.get("label")).lower() if isinstance(row, dict) else ""
    split = str(row.get("set")).lower() if isinstance(row, dict) else ""
    if label not in ("real", "fake") or split not in ("train", "test"):
        finds.problems.append(
            f"{LIST}: {relative!r} has no label real or fake, or no set train or test"
        )
        return None
    names = stem_of(relative).split("_")
    real = label == "real"
    source, target = (
        (None, names[0]) if real else (names[0], names[1] if len(names) > 1 else names[0])
    )
    told = (row.get("swapped_id"), row.get("target_id"))
    if not real and None not in told and tuple(map(str, told)) != (source, target):
        finds.problems.append(
            f"{LIST}: {relative!r} names donor and target {source}, {target}, its row {told}"
        )
    derived = finds.options.split_ratio is not None
    return Video(
        dataset="dfdcp",
        key=strip_extension(relative),
        video_id="",
        path=finds.root / relative,
        label=REAL if real else FAKE,
        method="real" if real else relative.split("/")[0],
        split="none" if derived else split,
        split_origin="derived" if derived else "official",
        target=target,
        source=source,
        pair=None if real else reals.get("_".join(names[1:])),
        group=target,
        video_fake=None if not real else False,
        audio_fake=None if not real else False,
    )


SOURCE = Source(
    name="dfdcp",
    title="DFDC preview",
    kind="audio-visual videos",
    size="1,131 reals, 4,119 fakes of two methods, 66 actors",
    access="ai.meta.com (account)",
    licence="non-commercial research",
    tasks="detection",
    tree="""\
<root>/
  dataset.json
  original_videos/<actor>/<actor>_<setting>_<clip>.mp4
  method_A/<target>/<target>_<setting>/<swapped>_<target>_<setting>_<clip>.mp4
  method_B/...""",
    labels="dataset.json; in a fake's name the FIRST number is the donor, the rest is the name "
    "of its original",
    splits="official train and test of dataset.json; val is cut from train by target actor",
    discover=discover,
    aliases=("dfdcpreview",),
)

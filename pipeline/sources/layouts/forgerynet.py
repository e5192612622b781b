"""ForgeryNet, video track: lines with a variable number of columns, fakes that are fake in some
segments only.
"""

from __future__ import annotations

from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds
from unmask.pipeline.sources.listing import child, list_media, nested_root, strip_extension
from unmask.pipeline.sources.metadata import find_file, read_lines

FOLDERS = {"Training": "train", "Validation": "val", "Test": "test"}
LIST = "video_list.txt"


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every video of the video lists; the binary column is the label, the segments give the fake
    frames.

    Line: `<n> <name> (<start frame> <frame count> <fake 1 or real 0>) x n <binary> <triple>
    <16-class>`.
    Raises: UsageError when no list is there.
    """
    root = nested_root(root, FOLDERS)
    finds = Finds("forgerynet", root, options)
    lists = 0
    for name, split in FOLDERS.items():
        folder = child(root, name)
        path = find_file(
            (LIST,), folder, folder / "video", root / f"{name}_lists", root / "lists" / name
        )
        if path is not None:
            lists += 1
            _add_split(finds, folder, split, path)
        elif folder.is_dir():
            finds.notes.append(f"{name}: no {LIST}, its videos have no labels and are not used")
    if not lists:
        raise UsageError(f"forgerynet: no {LIST} in {', '.join(FOLDERS)} under {str(root)!r}")
    finds.expected = [Expected(99_630, REAL), Expected(121_617, FAKE)]
    return finds.dataset()


def _add_split(finds: Finds, folder: Path, split: str, path: Path) -> None:
    base = child(folder, "video").relative_to(finds.root).as_posix()
    listing = list_media(finds.root, base)
    finds.ignored += [item for item in listing.ignored if not item[0].endswith(LIST)]
    found = set(listing.media)
    bad, contradicting = [], []
    for number, line in read_lines(path):
        parsed = parse_line(line)
        if parsed is None:
            bad.append(number)
            continue
        name, label, segments = parsed
        if (label == FAKE) != bool(segments):
            contradicting.append(number)
        relative = name if name.startswith(f"{base}/") else f"{base}/{name}"
        finds.add(_record(finds, split, relative, name, label, segments), present=relative in found)
        found.discard(relative)
    finds.unlisted += found
    for lines, what in (
        (bad, "are not '<n> <name> (<start> <count> <flag>) x n <binary> <triple> <16-class>'"),
        (contradicting, "have a label that contradicts their segments"),
    ):
        if lines:
            finds.problems.append(
                f"{split} {path.name}: {len(lines)} lines {what}; first in line {lines[0]}"
            )


def parse_line(line: str) -> tuple[str, int, tuple[tuple[int, int], ...]] | None:
    """(name, label, fake segments as (first frame, one past the last)) of one line; None when it
    does not fit.
    """
    words = line.split()
    try:
        count = int(words[0])
        numbers = [int(word) for word in words[2:]]
    except (ValueError, IndexError):
        return None
    if count < 1 or len(numbers) != 3 * count + 3 or min(numbers) < 0:
        return None
    segments = [numbers[3 * k : 3 * k + 3] for k in range(count)]
    label, flags = numbers[3 * count], {flag for _, _, flag in segments}
    if label not in (REAL, FAKE) or not flags <= {0, 1}:
        return None
    return (
        words[1],
        label,
        tuple((start, start + length) for start, length, fake in segments if fake),
    )


def _record(
    finds: Finds,
    split: str,
    relative: str,
    name: str,
    label: int,
    segments: tuple[tuple[int, int], ...],
) -> Video:
    derived = finds.options.split_ratio is not None
    key = f"{split}/{strip_extension(name)}"
    return Video(
        dataset=finds.name,
        key=key,
        video_id="",
        path=finds.root / relative,
        label=label,
        method=(name.split("/")[-2] if "/" in name else "fake") if label == FAKE else "real",
        split="none" if derived else split,
        split_origin="derived" if derived else "official",
        group=key,
        video_fake=label == FAKE,
        fake_frames=segments,
    )


SOURCE = Source(
    name="forgerynet",
    title="ForgeryNet (video track)",
    kind="videos",
    size="496 GB with its pictures; 99,630 real and 121,617 fake videos",
    access="project page (Google Drive, Baidu)",
    licence="non-commercial research",
    tasks="detection, temporal localisation",
    tree=f"""\
<root>/
  Training/{LIST}     Training/video/<folder per method>/...
  Validation/{LIST}   Validation/video/...
  Test/{LIST}         Test/video/...        (labels came with a later archive)""",
    labels="binary column of the list; fake segments are frame numbers",
    splits="official; no identities are published, a group is one video",
    discover=discover,
)

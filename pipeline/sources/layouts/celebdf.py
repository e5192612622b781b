"""Celeb-DF v1, v2 and Celeb-DF++: celebrity interviews, swapped among 59 people; an official test
list only.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from unmask.pipeline.errors import ListError, UsageError
from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds
from unmask.pipeline.sources.listing import child, list_media, nested_root, stem_of
from unmask.pipeline.sources.metadata import find_file, read_lines

TEST_LIST = "List_of_testing_videos.txt"
FOLDERS = {"Celeb-real": REAL, "YouTube-real": REAL, "Celeb-synthesis": FAKE}
SPELLING = {name.casefold(): name for name in FOLDERS}
REAL_NAME = re.compile(r"(id[0-9]+)_([0-9]+)")
SWAP_NAME = re.compile(r"(id[0-9]+)_(id[0-9]+)_([0-9]+)")
TALKING_NAME = re.compile(r"(id[0-9]+)_([0-9]+)_test_.+")
LEVELS = ("videos", "images", "frames")


def discover(name: str, root: Path, options: SourceOptions) -> Dataset:
    """All videos; test is the official list (its digit 1 means real), the rest is train.

    Strict drops training videos made from a recording of the test list. With a split ratio the
    split is by target person, and fakes whose donor is on another side are dropped.
    Raises: UsageError without the test list.
    """
    root = nested_root(root, FOLDERS)
    finds = Finds(name, root, options)
    derived = options.split_ratio is not None
    listed = {} if derived else _test_list(finds, options.splits)
    for folder, label in FOLDERS.items():
        base = child(root, folder)
        listing = list_media(root, base.relative_to(root).as_posix())
        finds.ignored += listing.ignored
        for relative in listing.videos or listing.folders:
            key = _key(folder, relative)
            finds.add(_record(name, key, label, root / relative, derived, key in listed))
            listed.pop(key, None)
    for key, relative in listed.items():
        finds.add(
            _record(name, key, FOLDERS[key.split("/")[0]], root / relative, False, True),
            present=False,
        )
    if derived:
        finds.people = "drop"
    else:
        _leaks(finds)
    finds.expected = EXPECTED[name]
    return finds.dataset()


def _key(folder: str, relative: str) -> str:
    """`<folder>/<methods>/<stem>`; the level `videos/` that some copies have is left out."""
    inner = [part for part in relative.split("/")[1:-1] if part not in LEVELS]
    return "/".join([folder, *inner, stem_of(relative)])


def _record(name: str, key: str, label: int, path: Path, derived: bool, tested: bool) -> Video:
    target, source, recording = _people(key)
    own = recording or key
    return Video(
        dataset=name,
        key=key,
        video_id="",
        path=path,
        label=label,
        method="real" if label == REAL else _method(key),
        split="none" if derived else "test" if tested else "train",
        split_origin="official" if tested else "derived",
        target=target,
        source=source,
        pair=f"Celeb-real/{recording}" if label == FAKE and recording else None,
        group=(target or own) if derived else own,
        video_fake=label == FAKE,
    )


def _people(key: str) -> tuple[str | None, str | None, str | None]:
    """Target person, donor and target recording that a name tells; the FIRST id of a swap is the
    target.
    """
    stem = key.rpartition("/")[2]
    if key.startswith("YouTube-real/"):
        return None, None, None
    if match := SWAP_NAME.fullmatch(stem):
        return match[1], match[2], f"{match[1]}_{match[3]}"
    if match := TALKING_NAME.fullmatch(stem) or REAL_NAME.fullmatch(stem):
        return match[1], None, f"{match[1]}_{match[2]}"
    return None, None, None


def _method(key: str) -> str:
    """The folder that holds a fake: the method in Celeb-DF++, `Celeb-synthesis` in v1 and v2."""
    return key.split("/")[-2]


def _test_list(finds: Finds, given: Path | None) -> dict[str, str]:
    """key -> relative path of the test list; the folder decides the label and the digit is checked
    against it.
    """
    path = (
        given
        if given and given.is_file()
        else find_file((TEST_LIST,), given or finds.root, finds.root.parent)
    )
    if path is None:
        raise UsageError(
            f"{finds.name}: {TEST_LIST} is not in {str(given or finds.root)!r}; give it with "
            "--splits, or ask for a "
            "split of your own by target person with --split-ratio"
        )
    listed: dict[str, str] = {}
    bad, wrong = [], []
    for number, line in read_lines(path):
        # Copies of the list come with tabs, back-slashes, a leading ./ or the folder of the root.
        digit, relative = [*line.split(None, 1), ""][:2]
        parts = [part for part in relative.replace("\\", "/").split("/") if part not in ("", ".")]
        start = next((k for k, part in enumerate(parts) if part.casefold() in SPELLING), 0)
        relative = "/".join(parts[start:])
        folder = SPELLING.get(parts[start].casefold()) if len(parts) > start + 1 else None
        if digit not in ("0", "1") or folder is None:
            bad.append(number)
            continue
        listed[_key(folder, relative)] = relative
        if (digit == "1") != (FOLDERS[folder] == REAL):
            wrong.append(number)
    # A test video whose line is passed over would be trained on.
    if bad or not listed:
        where = f"first in line {bad[0]}" if bad else "no line at all"
        raise ListError(
            f"{finds.name}: {str(path)!r}: {len(bad)} lines are not '<1 real or 0 fake> "
            f"<folder>/<file>', {where}; without them test videos would be trained on"
        )
    _complain(
        finds,
        path,
        wrong,
        "have a digit that contradicts the folder (1 means real in this list); folder used",
    )
    return listed


def _complain(finds: Finds, path: Path, lines: list[int], what: str) -> None:
    if lines:
        finds.problems.append(f"{path.name}: {len(lines)} lines {what}; first in line {lines[0]}")


def _leaks(finds: Finds) -> None:
    """The official list shares recordings with the rest; tell, or drop the training side when
    strict.
    """
    tested = {v.group for v in finds.videos + finds.missing if v.split == "test"}
    leaking = [v for v in finds.videos if v.split == "train" and v.group in tested]
    if not leaking:
        return
    if finds.options.strict:
        finds.videos = [v for v in finds.videos if v.split != "train" or v.group not in tested]
        finds.notes.append(
            f"{len(leaking)} training videos dropped: their target recording is in the test list"
        )
        return
    finds.notes.append(
        f"{len(leaking)} training videos share their target recording with the test list; use "
        "the set for testing "
        "only, or --strict, or --split-ratio for people in one split only"
    )


EXPECTED = {
    "celebdf1": [
        Expected(408, REAL, sure=True),
        Expected(795, FAKE, sure=True),
        Expected(100, split="test"),
    ],
    "celebdf2": [
        Expected(890, REAL, sure=True),
        Expected(5639, FAKE, sure=True),
        Expected(178, REAL, split="test", sure=True),
        Expected(340, FAKE, split="test", sure=True),
    ],
    "celebdfpp": [
        Expected(890, REAL),
        Expected(53196, FAKE),
        Expected(178, REAL, split="test", sure=True),
    ],
}
LABELS = (
    "by folder; id1_id0_0007 shows id1 with the face of id0, its pair is "
    "Celeb-real/id1_0007; in the list 1 is REAL"
)
SPLITS = (
    "test: the official list, train: the rest; recordings and people are shared, --strict drops "
    "training videos of "
    "test recordings, --split-ratio splits by target person and drops fakes across"
)
TREE = f"""\
<root>/
  Celeb-real/id0_0000.mp4
  YouTube-real/00170.mp4
  Celeb-synthesis/id1_id0_0007.mp4
  {TEST_LIST}"""

SOURCES = tuple(
    Source(
        name=name,
        title=title,
        kind="videos",
        size=size,
        access="form at github.com/yuezunli/celeb-deepfakeforensics",
        licence=licence,
        tasks="detection, mostly as a cross-dataset test",
        tree=tree,
        labels=LABELS,
        splits=SPLITS,
        discover=partial(discover, name),
        aliases=aliases,
    )
    for name, title, size, licence, tree, aliases in (
        (
            "celebdf1",
            "Celeb-DF v1",
            "408 reals, 795 fakes",
            "research",
            TREE,
            ("celebdfv1", "cdf1", "cdfv1"),
        ),
        (
            "celebdf2",
            "Celeb-DF v2",
            "890 reals, 5,639 fakes",
            "research",
            TREE,
            ("celebdfv2", "celebdf", "cdf", "cdf2", "cdfv2"),
        ),
        (
            "celebdfpp",
            "Celeb-DF++ (v3)",
            "890 reals, 53,196 fakes of 22 methods",
            "CC BY-NC",
            TREE.replace(
                "Celeb-synthesis/", "Celeb-synthesis/{FaceSwap,FaceReenact,TalkingFace}/<method>/"
            ),
            ("celebdf++", "celebdf3", "celebdfv3", "cdf3", "cdf++"),
        ),
    )
)

"""Edit a small tree at random, extract again after every edit, and compare with a fresh extraction
of what the tree has become: `python -m tests.faults.edits PLACE SEQUENCES EDITS`.

Everything is real: files on disk, decoding, faces, masks, boxes of originals. Six contents come
back hundreds of times, so what was found in a batch of pictures is remembered by their pixels.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import struct
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.faults.forks import in_this_process
from tests.pipeline.extraction.test_run import tree_hash
from tests.support.pictures_of import save_pictures
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.demo.drawing import Forgery, draw_frames, draw_identity, encode_video
from unmask.pipeline.extraction import crops, dispatch, run
from unmask.pipeline.faces.detector import Detector
from unmask.pipeline.records import Detections, Video, View

CROP = CropConfig(clips=2, frames=2, size=48, bands=False, masks=True, pair_boxes=True)
CONFIG = ExtractConfig(crop=CROP, jobs=1)
SIZE, FRAMES = (160, 120), 8
LONG_AGO = 1_500_000_000 * 10**9  # ns


@dataclass
class Tree:
    """Two reals, a fake of each, and a real as a folder of pictures; what the lists say of them."""

    root: Path
    contents: dict[str, bytes]
    splits: dict[str, str] = field(default_factory=dict)

    def videos(self) -> list[Video]:
        made = []
        for name, pair in (("a", None), ("b", None), ("fa", "a"), ("fb", "b"), ("p", None)):
            path = self.root / (name if name == "p" else f"{name}.mp4")
            mask = self.root / f"mask_{name}.mp4"
            made.append(
                Video(
                    "edits", name, name, path, int(pair is not None), pair=pair, group=name[-1],
                    split=self.splits.get(name, "train"), mask=mask if pair else None,
                )
            )  # fmt: skip
        return made

    def write(self, name: str, content: bytes) -> None:
        """As another program would: beside, then renamed, with a time that says nothing."""
        path = self.root / name
        (self.root / "new").write_bytes(content)
        os.utime(self.root / "new", ns=(LONG_AGO, LONG_AGO))
        os.replace(self.root / "new", path)


def padded(path: Path, size: int) -> bytes:
    """A whole mp4 of exactly this many bytes: players pass over a `free` box."""
    data = path.read_bytes()
    room = size - len(data)
    return data + struct.pack(">I", room) + b"free" + bytes(room - 8)


def draw(place: Path) -> dict[str, bytes]:
    """Contents of equal size: two people, each untouched and forged, and the masks."""
    pictures = {}
    for who, seed in (("one", 5), ("two", 12)):
        forged = list(
            draw_frames(draw_identity(seed), FRAMES, SIZE, seed, Forgery(draw_identity(90)))
        )
        plain = draw_frames(draw_identity(seed), FRAMES, SIZE, seed)
        pictures[who] = [picture for picture, _ in plain]
        pictures[f"{who}_forged"] = [picture for picture, _ in forged]
        pictures[f"{who}_mask"] = [np.repeat(m[..., None], 3, axis=2) for _, m in forged]
    for name, drawn in pictures.items():
        encode_video(place / f"{name}.mp4", drawn)
    size = 8 + max((place / f"{name}.mp4").stat().st_size for name in pictures)
    return {name: padded(place / f"{name}.mp4", size) for name in pictures}


def plant(root: Path, contents: dict[str, bytes], stills: dict[str, np.ndarray]) -> Tree:
    root.mkdir(parents=True)
    tree = Tree(root, contents)
    for name, content in (("a", "one"), ("b", "two"), ("fa", "one_forged"), ("fb", "two_forged")):
        tree.write(f"{name}.mp4", contents[content])
    tree.write("mask_fa.mp4", contents["one_mask"])
    save_pictures(root / "p", stills)
    return tree


def replace_video(tree: Tree, rng: random.Random) -> None:
    name = rng.choice(["a", "b", "fa", "fb", "mask_fa", "mask_fb"])
    tree.write(f"{name}.mp4", tree.contents[rng.choice(sorted(tree.contents))])


def overwrite_in_place(tree: Tree, rng: random.Random) -> None:
    """The same inode, size and modification time; only the time of the inode's change tells."""
    path = tree.root / f"{rng.choice(['a', 'b', 'fa', 'fb'])}.mp4"
    path.write_bytes(tree.contents[rng.choice(sorted(tree.contents))])
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def swap(tree: Tree, rng: random.Random) -> None:
    one, two = (tree.root / f"{name}.mp4" for name in rng.sample(["a", "b", "fa", "fb"], 2))
    os.rename(one, tree.root / "aside")
    os.rename(two, one)
    os.rename(tree.root / "aside", two)


def reorder_pictures(tree: Tree, rng: random.Random) -> None:
    one, two = rng.sample(sorted((tree.root / "p").iterdir()), 2)
    os.rename(one, tree.root / "aside")
    os.rename(two, one)
    os.rename(tree.root / "aside", two)


def renumber_pictures(tree: Tree, rng: random.Random) -> None:
    """A gap in the numbers: no clip lies across it."""
    last = sorted((tree.root / "p").iterdir())[-1]
    os.rename(last, last.with_name(f"{int(last.stem) + rng.randint(2, 9):04d}.png"))


def touch(tree: Tree, rng: random.Random) -> None:
    path = rng.choice(sorted(path for path in tree.root.iterdir()))
    os.utime(path, ns=(LONG_AGO, LONG_AGO + rng.randrange(10**9)))


def truncate(tree: Tree, rng: random.Random) -> None:
    path = tree.root / f"{rng.choice(['a', 'fa'])}.mp4"
    path.write_bytes(path.read_bytes()[: rng.choice([40, 3000])])


def complete(tree: Tree, rng: random.Random) -> None:
    tree.write("a.mp4", tree.contents["one"])
    tree.write("fa.mp4", tree.contents["one_forged"])


def mask(tree: Tree, rng: random.Random) -> None:
    path = tree.root / f"mask_{rng.choice(['fa', 'fb'])}.mp4"
    if path.exists():
        path.unlink()
    else:
        tree.write(path.name, tree.contents[rng.choice(["one_mask", "two_mask"])])


def other_split(tree: Tree, rng: random.Random) -> None:
    tree.splits[rng.choice(["a", "b", "fa", "fb", "p"])] = rng.choice(["train", "val", "test"])


EDITS = (
    replace_video, overwrite_in_place, swap, reorder_pictures, renumber_pictures, touch, truncate,
    complete, mask, other_split,
)  # fmt: skip


class Remembering:
    """A detector that looks at equal batches of pictures once."""

    def __init__(self, detector: Detector) -> None:
        self.detector, self.known = detector, {}

    def detect(self, picture: NDArray[np.uint8] | View) -> Detections:
        return self.detect_many([picture])[0]

    def detect_many(self, pictures: Sequence[NDArray[np.uint8] | View]) -> list[Detections]:
        whole = [one if isinstance(one, np.ndarray) else one.pixels() for one in pictures]
        key = tuple((one.shape, hashlib.sha256(one.tobytes()).digest()) for one in whole)
        if key not in self.known:
            self.known[key] = self.detector.detect_many(pictures)
        return list(self.known[key])


def main(place: str, sequences: str, edits: str) -> None:
    dispatch.dispatch = in_this_process
    detector = Remembering(crops.detector_for(CROP))
    crops.detector_for = lambda crop: detector
    work = Path(place)
    contents = draw(work)
    pictures = draw_frames(draw_identity(5), FRAMES, SIZE, 5)
    stills = {f"{number:04d}.png": picture for number, (picture, _) in enumerate(pictures)}
    rng, counts = random.Random(1), Counter(sequences=0, edits=0, ok=0, different=0)
    for number in range(int(sequences)):
        here = work / f"sequence{number}"
        tree = plant(here / "tree", contents, stills)
        done = []
        run.extract(tree.videos(), CONFIG, here / "again")
        for _ in range(int(edits)):
            edit = EDITS[rng.randrange(len(EDITS))]
            edit(tree, rng)
            done.append(edit.__name__)
            ended = run.extract(tree.videos(), CONFIG, here / "again")
        fresh = run.extract(tree.videos(), CONFIG, here / "fresh")
        again, truth = (
            {name.removeprefix(str(here / where)): d for name, d in tree_hash(here / where).items()}
            for where in ("again", "fresh")
        )
        counts.update(sequences=1, edits=len(done), ok=sum(o.status == "ok" for o in fresh))
        if again != truth or ended != fresh:
            counts["different"] += 1
            names = sorted(n for n in again.keys() | truth.keys() if again.get(n) != truth.get(n))
            sys.stderr.write(f"{done}: {names}\n{ended}\n{fresh}\n")
        else:
            shutil.rmtree(here)
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

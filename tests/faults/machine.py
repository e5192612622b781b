"""A cache under Hypothesis: extract, kill, delete, corrupt, verify, repair and open in any order,
against a model.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.faults.forks import CONFIG, Fault, child, ended, leftovers, prepare, start
from tests.support.small_videos import files_of
from unmask.pipeline.cache.video import open_video, verify_video
from unmask.pipeline.errors import CacheError
from unmask.pipeline.extraction import repair, run
from unmask.pipeline.sources.dataset import Dataset

ABSENT, WHOLE, DAMAGED = "absent", "whole", "damaged"
VIDEOS = st.integers(0, 1)
HARMS = st.sampled_from(["flip", "cut", "gone"])


class Road(RuleBasedStateMachine):
    """Two videos; the model says of each whether it is absent, whole or damaged."""

    dataset: ClassVar[Dataset]
    place: ClassVar[Path]
    events: ClassVar[int]
    truth: ClassVar[dict[int, tuple[dict[str, bytes], bytes]]] = {}  # files, pixels
    counts: ClassVar[dict[str, int]] = {
        "sequences": 0,
        "extracts": 0,
        "kills": 0,
        "damages": 0,
        "repairs": 0,
    }

    @initialize(extracted=st.booleans())
    def start(self, extracted: bool) -> None:
        self.work = Road.place / f"run{Road.counts['sequences']}"
        Road.counts["sequences"] += 1
        self.parent = run.cache_folder(self.work / "cache", "ffpp", CONFIG.crop)
        self.model = [ABSENT, ABSENT]
        self.killed, self.indexed = False, extracted
        if extracted:
            shutil.copytree(Road.place / "reference", self.work)
            self.model = [WHOLE, WHOLE]

    def folder(self, video: int) -> Path:
        return self.parent / Road.dataset.videos[video].video_id

    def state(self, video: int) -> str:
        folder = self.folder(video)
        if not folder.exists():
            return ABSENT
        return DAMAGED if verify_video(folder) else WHOLE

    def seen_by_extract(self, video: int) -> bool:
        """Damage in metadata or sizes; a flip inside a shard only shows when all bytes are read."""
        try:
            return not open_video(self.folder(video)).attributes
        except CacheError:
            return True

    def walk(self, fault: Fault | None = None) -> tuple[int, str]:
        return child(Road.dataset, self.work, fault)

    @rule()
    def extract(self) -> None:
        left = [self.model[v] == DAMAGED and not self.seen_by_extract(v) for v in range(2)]
        status, told = self.walk()
        assert status == 0, told
        self.model = [DAMAGED if stays else WHOLE for stays in left]
        self.killed, self.indexed = False, True
        Road.counts["extracts"] += 1

    @rule(moment=st.floats(0, 1))
    def kill(self, moment: float) -> None:
        at = 1 + int(moment * Road.events)
        self.walk(lambda n, *_: n == at and os.kill(os.getpid(), signal.SIGKILL))
        for video, before in enumerate(self.model):
            now = self.state(video)
            assert now in (WHOLE, before), f"{before} -> {now}"
            self.model[video] = now
        self.killed, self.indexed = True, (self.parent / "index.json").exists()
        Road.counts["kills"] += 1

    @rule(video=VIDEOS)
    def delete(self, video: int) -> None:
        shutil.rmtree(self.folder(video), ignore_errors=True)
        self.model[video] = ABSENT

    @rule(
        video=VIDEOS,
        file=st.integers(0, 5),
        spot=st.floats(0, 0.999),
        how=st.sampled_from(["flip", "cut", "gone"]),
    )
    def corrupt(self, video: int, file: int, spot: float, how: str) -> None:
        if self.model[video] != WHOLE:
            return
        files = files_of(self.folder(video))
        name = sorted(files)[file % len(files)]
        path, data, at = (
            self.folder(video) / name,
            bytearray(files[name]),
            int(spot * len(files[name])),
        )
        data[at] ^= 1
        path.unlink() if how == "gone" else path.write_bytes(data if how == "flip" else data[:at])
        self.model[video] = DAMAGED
        Road.counts["damages"] += 1

    @precondition(lambda self: self.indexed)
    @rule()
    def repair(self) -> None:
        damaged = [self.folder(v) for v, state in enumerate(self.model) if state == DAMAGED]
        status, told = ended(
            *start(lambda: repair.repair(damaged, CONFIG, self.work / "cache", lambda _: None))
        )
        assert status == 0, told
        self.model = [WHOLE if state == DAMAGED else state for state in self.model]
        self.killed = self.killed and not damaged
        Road.counts["repairs"] += 1

    @rule(video=VIDEOS)
    def open(self, video: int) -> None:
        try:
            cached = open_video(self.folder(video))
            pixels = cached.read_crops(range(cached.clips)).tobytes()
        except CacheError:
            assert self.model[video] != WHOLE
            return
        assert pixels == Road.truth[video][1], "damage may be refused, never read"

    @invariant()
    def disk_is_as_modelled(self) -> None:
        if not hasattr(self, "model"):
            return
        for video, state in enumerate(self.model):
            assert self.state(video) == state
            if state == WHOLE:
                assert files_of(self.folder(video)) == Road.truth[video][0]
        assert self.killed or not leftovers(self.work)

    def teardown(self) -> None:
        shutil.rmtree(getattr(self, "work", Path("/nowhere")), ignore_errors=True)


def main(root: str, place: str, sequences: str) -> None:
    Road.dataset, Road.place = prepare(Path(root), 2), Path(place)
    reference = Road.place / "reference"
    status, told = child(Road.dataset, reference)
    assert status == 0, told
    Road.events = int(told)
    parent = run.cache_folder(reference / "cache", "ffpp", CONFIG.crop)
    for video in Road.dataset.videos:
        cached = open_video(parent / video.video_id)
        Road.truth[len(Road.truth)] = (
            files_of(cached.folder),
            cached.read_crops(range(cached.clips)).tobytes(),
        )
    machine = Road.TestCase
    machine.settings = settings(
        max_examples=int(sequences),
        stateful_step_count=8,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    machine().runTest()
    sys.stdout.write(json.dumps(Road.counts) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

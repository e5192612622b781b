"""Videos beside each other get what each would have got alone, and nobody waits for one that does
not come.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from unmask.pipeline.cache.video import open_video
from unmask.pipeline.errors import VideoError
from unmask.pipeline.faces import find, shared_detector
from unmask.pipeline.faces.shared_detector import SharedDetector
from unmask.pipeline.records import Detections

ROOT = Path(__file__).parents[3]
LONG = 60.0


class Reader:
    """Says of a picture what its first pixel says, and keeps the size of every batch."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def detect_many(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        self.batches.append(len(pictures))
        values = [int(picture[0, 0, 0]) for picture in pictures]
        if 255 in values:
            raise VideoError("out_of_memory", f"{len(pictures)} pictures")
        return [Detections(np.full((1, 4), v), np.zeros((1, 5, 2)), np.ones(1)) for v in values]


def pictures(*values: int) -> list[NDArray[np.uint8]]:
    return [np.full((2, 2, 3), value, np.uint8) for value in values]


def told(found: list[Detections]) -> list[int]:
    return [int(faces.box[0, 0]) for faces in found]


def ask_together(shared: SharedDetector, *requests: list[NDArray[np.uint8]]) -> list[object]:
    """Every request from a thread of its own, all seated before the first asks: what each got or
    raised.
    """
    seated = threading.Barrier(len(requests))

    def one(request: list[NDArray[np.uint8]]) -> object:
        with shared.seat():
            seated.wait()
            try:
                return told(shared.detect_many(request))
            except VideoError as error:
                return error.detail

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(one, requests))


def test_all_that_sit_together_share_a_batch_and_each_gets_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_detector, "PATIENCE", LONG)
    shared = SharedDetector(reader := Reader())
    assert ask_together(shared, pictures(1, 2, 3), pictures(4), pictures(), pictures(5, 6)) == [
        [1, 2, 3],
        [4],
        [],
        [5, 6],
    ]
    assert reader.batches == [6]


def test_without_company_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_detector, "PATIENCE", LONG)
    shared = SharedDetector(reader := Reader())
    assert told(shared.detect_many(pictures(7, 8))) == [7, 8] and told(
        [shared.detect(pictures(9)[0])]
    ) == [9]
    with shared.seat():
        assert told(shared.detect_many(pictures(1))) == [1]
    assert reader.batches == [2, 1, 1]


def test_who_leaves_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_detector, "PATIENCE", LONG)
    shared = SharedDetector(reader := Reader())
    with ThreadPoolExecutor(1) as pool:
        with shared.seat(), shared.seat():
            waiting = pool.submit(shared.detect_many, pictures(3))
            while not shared._asked:
                time.sleep(0.001)
            assert not waiting.done()
        assert told(waiting.result(LONG)) == [3]
    assert reader.batches == [1]


def test_who_is_busy_elsewhere_is_waited_for_only_a_moment() -> None:
    shared = SharedDetector(reader := Reader())
    with shared.seat(), shared.seat():
        assert told(shared.detect_many(pictures(3))) == [3]
    assert reader.batches == [1]


def test_a_request_that_fails_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_detector, "PATIENCE", LONG)
    shared = SharedDetector(Reader())
    got = ask_together(shared, pictures(1, 2), pictures(3, 255, 4), pictures(5))
    assert got == [[1, 2], "3 pictures", [5]]


def test_videos_beside_each_other_give_the_bytes_that_each_gives_alone(
    drawn: Path, tmp_path: Path
) -> None:
    """As on a GPU: three videos at a time, in batches of one shape, one of the files no video at
    all.
    """
    together, alone = tmp_path / "together", tmp_path / "alone"
    for folder in (together, alone):
        folder.mkdir()
    command = [
        sys.executable,
        "-m",
        "tests.support.beside_videos",
        *map(str, (drawn, together, alone)),
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    told = json.loads(run.stdout)
    assert told["together"] == told["alone"]
    assert [status for _, status, _ in told["together"]].count("ok") == 5 and told["together"][2][
        2
    ] == "not_a_video"
    assert max(told["batches"]) > find.TOGETHER["cpu"][0], "some batch was of more than one video"
    for name, status, _ in told["together"]:
        if status == "ok":
            here, there = (open_video(folder / name) for folder in (together, alone))
            assert np.array_equal(
                here.read_crops(range(here.shape[0])), there.read_crops(range(there.shape[0]))
            )
            files = sorted(
                p.relative_to(together) for p in (together / name).rglob("*") if p.is_file()
            )
            assert files and all(
                (together / f).read_bytes() == (alone / f).read_bytes() for f in files
            )

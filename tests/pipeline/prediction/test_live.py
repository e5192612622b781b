"""--follow: a recording that a writer process appends to, read once, verdicts while it grows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny_cache import make_cache
from tests.support.trained import CLRNET, make_run
from unmask.pipeline.config import CropConfig, PredictConfig
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video
from unmask.pipeline.errors import UsageError, VideoError
from unmask.pipeline.prediction.live import follow_recording
from unmask.pipeline.prediction.predict import open_scorers

# Another process: the rest of a recording, piece by piece.
WRITER = """
import sys, time
data = open(sys.argv[1], "rb").read()[188:]
with open(sys.argv[2], "ab") as file:
    for start in range(0, len(data), len(data) // 12 + 1):
        time.sleep(0.1)
        file.write(data[start : start + len(data) // 12 + 1])
        file.flush()
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("follow")
    cache, manifests = make_cache(root, {"train": 1}, side=64)
    settings = CropConfig(clips=4, frames=3, size=64).settings()
    return make_run(root / "run", manifests / "train.txt", cache, settings, "clrnet", CLRNET)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "whole.ts"
    encode_video(
        path,
        [picture for picture, _ in draw_frames(draw_identity(3), 90, (320, 240), seed=3)],
        keyint=25,
    )
    return path


def test_a_growing_file_gives_the_updates_of_the_finished_one(
    run: Path, recording: Path, tmp_path: Path
) -> None:
    config = PredictConfig(models=(str(run),), device="cpu", every=0.2)
    scorers = open_scorers(config)
    whole = list(follow_recording(recording, scorers, config, patience=0.1))
    growing = tmp_path / "growing.ts"
    growing.write_bytes(recording.read_bytes()[:188])
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(recording), str(growing)])
    sizes, updates = [], []
    for update in follow_recording(growing, scorers, config, patience=8.0):
        sizes.append(growing.stat().st_size)
        updates.append(update)
        if len(updates) == len(whole):
            break
    assert writer.wait() == 0
    assert sizes[0] < recording.stat().st_size, (
        "the first verdict came before the recording was over"
    )
    assert [u.prediction.score for u in updates] == pytest.approx(
        [u.prediction.score for u in whole], abs=1e-6
    )
    assert [u.time for u in updates] == pytest.approx([u.time for u in whole])
    assert len(whole) >= 4 and whole[-1].prediction.tracks and whole[-1].ratio > 0
    assert "x real time" in whole[-1].line()


def test_what_is_no_transport_stream_is_refused(run: Path, tmp_path: Path) -> None:
    config = PredictConfig(models=(str(run),), device="cpu")
    scorers = open_scorers(config)
    (tmp_path / "x.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(2000))
    with pytest.raises(UsageError, match=r"\.ts"):
        next(follow_recording(tmp_path / "x.mp4", scorers, config, 0.1))
    with pytest.raises(VideoError, match="missing"):
        next(follow_recording(tmp_path / "gone.ts", scorers, config, 0.1))

"""A video too short for clips of its own frames says that they share some, and counts each once."""

from __future__ import annotations

from pathlib import Path

import pytest

from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video
from unmask.pipeline.extraction.one_video import extract_video
from unmask.pipeline.records import Video

CROP = CropConfig(clips=4, frames=5, size=48, bands=False)


@pytest.mark.parametrize("frames, shared", [(12, True), (20, True), (23, True), (40, False)])
def test_clips_that_overlap_are_said_and_frames_counted_once(
    frames: int, shared: bool, tmp_path: Path
) -> None:
    path, parent = tmp_path / "v.mp4", tmp_path / "cache"
    parent.mkdir()
    drawn = draw_frames(draw_identity(7001), frames, (240, 180), 7001, face=0.6)
    encode_video(path, [picture for picture, _ in drawn])
    outcome = extract_video(Video("d", "v", "v", path, 0), ExtractConfig(crop=CROP), parent)
    assert outcome.status == "ok" and outcome.clips == 4
    # 12 frames: starts 1, 3, 5, 7; 20: 2, 6, 10, 14; 23: 2, 7, 11, 16; 40: 4, 13, 22, 31.
    assert outcome.frames_read == {12: 11, 20: 17, 23: 19, 40: 20}[frames]
    assert ("overlapping_clips" in outcome.flags) == shared

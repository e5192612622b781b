"""What a file says of its making is what it was made with."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.drawn_videos import Recipe, write_video
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.facts import facts_of
from unmask.pipeline.errors import VideoError


def test_encoder_rate_and_container(tmp_path: Path) -> None:
    options = {"crf": "31", "g": "10", "sc_threshold": "0", "bf": "0"}
    path = write_video(tmp_path / "a.mp4", Recipe(frames=30, options=options))
    facts = facts_of(path, Limits())
    assert facts["encoder"]["codec"] == "h264" and facts["encoder"]["crf"] == 31.0
    assert facts["encoder"]["x264"].isdigit() and facts["encoder"]["reordered"] == 0.0
    assert facts["encoder"]["pixel format"] == "yuv420p"
    rate = facts["rate"]
    assert (rate["key frames"], rate["key distance"], rate["key distance spread"]) == (3, 10, 0)
    assert rate["file bytes"] == path.stat().st_size and rate["key to other"] > 1
    with av.open(str(path)) as container:
        sizes = [packet.size for packet in container.demux(video=0) if packet.size]
    assert rate["bits per second"] == pytest.approx(8 * np.mean(sizes) * 25)
    assert rate["bits per pixel"] == pytest.approx(8 * np.mean(sizes) / (160 * 120))
    assert "mp4" in facts["container"]["format"] and facts["container"]["streams"] == "video"
    assert facts["container"]["encoder"].startswith("Lavf")
    assert facts["sound"] == {"heard": "no"}


def test_leading_silence_and_loudness_of_sound(tmp_path: Path) -> None:
    path, rate = tmp_path / "a.mkv", 16_000
    tone = (0.25 * np.sin(np.arange(rate) * 0.3)).astype(np.float32)
    samples = np.concatenate(
        [np.zeros(rate // 2, np.float32), tone, np.zeros(rate // 4, np.float32)]
    )
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        picture.pts, picture.time_base = 0, Fraction(1, 25)
        container.mux(video.encode(picture))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(
            (samples * 32767).astype(np.int16)[None], format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts = rate, 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    facts = facts_of(path, Limits())["sound"]
    assert (facts["heard"], facts["sound codec"], facts["channels"]) == ("yes", "pcm_s16le", 1)
    assert facts["leading silence"] == pytest.approx(0.5, abs=0.01)
    assert facts["trailing silence"] == pytest.approx(0.25, abs=0.01)
    power = np.mean(samples.astype(np.float64) ** 2)
    assert facts["loudness"] == pytest.approx(10 * np.log10(power), abs=0.2)
    assert facts["zeros"] == pytest.approx(0.75 / 1.75, abs=0.02)


def test_a_folder_says_nothing_and_no_video_is_a_reason(tmp_path: Path) -> None:
    assert facts_of(tmp_path, Limits()) == {}
    (tmp_path / "x.mp4").write_bytes(b"no video at all" * 100)
    with pytest.raises(VideoError):
        facts_of(tmp_path / "x.mp4", Limits())

"""The annotated video: browser-proof, as long as its source, boxes where the face is, sound
kept.
"""

from __future__ import annotations

import os
import signal
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.predicting import prediction_of, track_of
from unmask.pipeline.config import Limits
from unmask.pipeline.demo.drawing import encode_video
from unmask.pipeline.disk.files import replacing
from unmask.pipeline.prediction.annotated_video import CARRIED, HELD, annotate, place
from unmask.pipeline.prediction.timeline_strip import COLOURS

BOX = (80.0, 60.0, 160.0, 180.0)
GREY = 90


def grey_video(path: Path, frames: int = 50, size: tuple[int, int] = (320, 240)) -> Path:
    encode_video(path, [np.full((size[1], size[0], 3), GREY, np.uint8)] * frames)
    return path


def with_sound(path: Path, codec: str, suffix: str) -> Path:
    """Grey pictures and a 440 Hz tone of two seconds."""
    target = path.with_name(f"sound-{codec}{suffix}")
    with av.open(str(target), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        sound = out.add_stream(codec, rate=48_000, layout="mono")
        tone = np.sin(2 * np.pi * 440 * np.arange(96_000) / 48_000)
        for number in range(50):
            picture = av.VideoFrame.from_ndarray(
                np.full((240, 320, 3), GREY, np.uint8), format="rgb24"
            )
            out.mux(video.encode(picture))
            piece = (tone[number * 1920 : (number + 1) * 1920] * 20_000).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.rate, frame.pts, frame.time_base = 48_000, number * 1920, Fraction(1, 48_000)
            out.mux(sound.encode(frame))
        out.mux(video.encode(None))
        out.mux(sound.encode(None))
    return target


def decoded(path: Path) -> tuple[list[np.ndarray], list[float]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.video[0]))
        return [frame.to_ndarray(format="rgb24") for frame in frames], [
            float(frame.time) for frame in frames
        ]


def test_a_browser_can_play_it_and_every_frame_is_there(tmp_path: Path) -> None:
    source = grey_video(tmp_path / "in.mp4", size=(321 // 2 * 2, 238))
    track = track_of([0.5, 1.5], [BOX, BOX], [0.9, 0.9])
    target = annotate(prediction_of(source, (track,)), tmp_path / "new" / "out.mp4", Limits())
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.width % 2 == stream.height % 2 == 0 and len(container.streams) == 1
    head = target.read_bytes()
    assert 0 < head.index(b"moov") < head.index(b"mdat"), "the index must come first for streaming"
    pictures, times = decoded(target)
    assert len(pictures) == 50
    assert times == pytest.approx([n / 25 for n in range(50)], abs=1e-3)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.mp4"]


def test_the_box_is_where_the_face_is_in_the_colour_of_its_score(tmp_path: Path) -> None:
    source = grey_video(tmp_path / "in.mp4")
    moved = tuple(edge + (80 if i % 2 == 0 else 0) for i, edge in enumerate(BOX))
    track = track_of([0.0, 1.96], [BOX, moved], [0.9, 0.1])
    pictures, _ = decoded(annotate(prediction_of(source, (track,)), tmp_path / "out.mp4", Limits()))
    scale = pictures[0].shape[1] // 320
    for number, colour, left in ((2, "fake", 80 + 80 * 2 / 49), (47, "real", 80 + 80 * 47 / 49)):
        row = pictures[number][120 * scale].astype(int)
        far = np.abs(row - GREY).max(1)
        edges = np.flatnonzero(far > 40)
        assert edges.min() == pytest.approx(left * scale, abs=3)
        assert edges.max() == pytest.approx((left + 80) * scale, abs=3)
        shown = row[edges.min() : edges.min() + 2].mean(0)
        nearest = min(COLOURS, key=lambda name: np.abs(np.array(COLOURS[name]) - shown).sum())
        assert nearest == colour


@pytest.mark.parametrize(
    ("codec", "suffix", "kept"), [("aac", ".mp4", "aac"), ("pcm_s16le", ".avi", "aac")]
)
def test_sound_is_kept_in_time(tmp_path: Path, codec: str, suffix: str, kept: str) -> None:
    source = with_sound(tmp_path / "x", codec, suffix)
    track = track_of([0.5], [BOX], [0.9])
    target = annotate(prediction_of(source, (track,)), tmp_path / "out.mp4", Limits())
    with av.open(str(target)) as container:
        (sound,) = container.streams.audio
        assert sound.codec_context.name == kept
        samples = np.concatenate([f.to_ndarray()[0] for f in container.decode(sound)])
    assert len(samples) / 48_000 == pytest.approx(2.0, abs=0.1)
    middle = samples[24_000:72_000]
    peak = np.abs(np.fft.rfft(middle)).argmax() * 48_000 / len(middle)
    assert peak == pytest.approx(440, abs=2)
    if codec == "aac":  # copied, not encoded again
        with av.open(str(source)) as a, av.open(str(target)) as b:
            first, second = (
                [bytes(p) for p in c.demux(c.streams.audio[0]) if p.size] for c in (a, b)
            )
        assert set(second) <= set(first) and len(second) >= len(first) - 2


def test_boxes_are_interpolated_only_over_short_gaps() -> None:
    near = track_of([1.0, 2.0], [(0, 0, 10, 10), (10, 0, 20, 10)], [0.2, 0.8])
    warm = np.array([0.2, 0.8])
    found = place(near, 1.25, 0.05, warm)
    assert found is not None and found.box == pytest.approx([2.5, 0, 12.5, 10]) and not found.seen
    assert place(near, 1.0, 0.05, warm).seen and place(near, 1.9, 0.05, warm).score == 0.8
    assert place(near, 2.0 + HELD / 2, 0.05, warm).box == pytest.approx([10, 0, 20, 10])
    assert place(near, 2.0 + HELD * 1.5, 0.05, warm) is None
    far = track_of([0.0, CARRIED * 2], [(0, 0, 10, 10), (90, 0, 99, 10)], [0.2, 0.8])
    assert place(far, CARRIED, 0.05, warm) is None


def test_what_a_killed_annotation_left_is_cleaned_by_the_next_one(tmp_path: Path) -> None:
    source = grey_video(tmp_path / "in.mp4")
    found = prediction_of(source, (track_of([0.5], [BOX], [0.9]),))
    target = tmp_path / "out.mp4"
    pid = os.fork()
    if not pid:
        with replacing(target) as partial:
            partial.write_bytes(b"half a film")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert len(list(tmp_path.iterdir())) == 2
    annotate(found, target, Limits())
    assert sorted(tmp_path.iterdir()) == [source, target]


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    source = grey_video(tmp_path / "in.mp4")
    found = prediction_of(source, (track_of([0.5], [BOX], [0.9]),))
    source.unlink()
    with pytest.raises(Exception, match="missing"):
        annotate(found, tmp_path / "out.mp4", Limits())
    assert list(tmp_path.iterdir()) == []

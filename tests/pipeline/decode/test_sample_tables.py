"""An index that states more than a file can hold is refused before anybody makes room for it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.drawn_videos import Recipe, write_video
from unmask.pipeline.config import Limits
from unmask.pipeline.decode import containers
from unmask.pipeline.decode.ending import FileBytes
from unmask.pipeline.decode.sample_tables import stated_samples
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.errors import VideoError

LIMITS = Limits()
MANY = 20_000_000


def stated(path: Path) -> int:
    with path.open("rb") as file:
        return stated_samples(FileBytes(file))


def packets_of(path: Path) -> dict[str, int]:
    """What libavformat finds: packets of each kind of stream."""
    with av.open(str(path)) as container:
        found = {stream.type: 0 for stream in container.streams}
        for packet in container.demux():
            found[packet.stream.type] += packet.size > 0
    return found


@pytest.mark.parametrize("movflags", ["", "faststart", "frag_keyframe+empty_moov"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_a_good_file_states_what_the_demuxer_finds(
    suffix: str, movflags: str, tmp_path: Path
) -> None:
    path = write_video(
        tmp_path / f"v{suffix}",
        Recipe(suffix=suffix, frames=50, muxer={"movflags": movflags} if movflags else {}),
    )
    assert stated(path) == packets_of(path)["video"] == 50


def with_pcm(path: Path) -> Path:
    """Five frames and two seconds of PCM."""
    with av.open(str(path), "w") as container:
        video, sound = (
            container.add_stream("libx264", rate=25),
            container.add_stream("pcm_s16le", 48000),
        )
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            container.mux(video.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(video.encode(None))
        noise = np.random.default_rng(0).integers(-999, 999, (1, 96000)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(noise, "s16", "mono")
        frame.sample_rate = 48000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def test_sound_that_is_stored_sample_by_sample_is_no_lie(tmp_path: Path) -> None:
    """libavformat keeps runs of it, so that its count of samples costs nothing."""
    path = with_pcm(tmp_path / "v.mov")
    assert stated(path) == 5
    assert scan(path, LIMITS).frames == 5


def bomb(path: Path, table: bytes, after: int) -> None:
    """Write MANY into the 32 bits that lie so many bytes behind a table's name."""
    data = bytearray(path.read_bytes())
    at = data.index(table) + 4 + after
    data[at : at + 4] = MANY.to_bytes(4, "big")
    path.write_bytes(bytes(data))


BOMBS = {
    "sizes": (b"stsz", 8, ""),
    "times": (b"stts", 8, ""),
    "offsets of times": (b"ctts", 8, ""),
    "a fragment": (b"trun", 4, "frag_keyframe+empty_moov"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_more_samples_than_bytes_are_refused_before_the_file_is_opened(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, after, movflags = BOMBS[kind]
    path = write_video(
        tmp_path / "v.mp4", Recipe(frames=12, muxer={"movflags": movflags} if movflags else {})
    )
    assert scan(path, LIMITS).frames == 12
    bomb(path, table, after)
    assert stated(path) >= MANY
    monkeypatch.setattr(containers, "open_input", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(VideoError, match=f"states {stated(path)} samples in") as caught:
        scan(path, LIMITS)
    assert caught.value.reason == "too_large"


def test_any_bytes_are_looked_at_without_a_fall(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", Recipe(frames=12))
    whole, rng = path.read_bytes(), np.random.default_rng(3)
    index = whole.index(b"moov")
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(index, len(data), 4):
            data[at] = rng.integers(256)
        path.write_bytes(bytes(data[: rng.integers(index, len(data) + 1)]))
        assert stated(path) >= 0

"""What is no usable video is refused with the right reason, before anything of it is decoded or
followed.
"""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.drawn_videos import Recipe, draw_picture, write_video
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.clips import decode_clips
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.errors import VideoError
from unmask.pipeline.formats import guess

LIMITS = Limits()
HTML = b"<!DOCTYPE html><html><body>404 not found</body></html>"


def refusal(path: Path, limits: Limits = LIMITS) -> VideoError:
    with pytest.raises(VideoError) as caught:
        scan(path, limits)
    with pytest.raises(VideoError) as again:
        scan(path, limits, planned=False)
    assert again.value.reason == caught.value.reason
    return caught.value


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "empty"),
        (b"just some words\n", "plain text"),
        (HTML, "HTML"),
        (b"  \n<html>", "HTML"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"PK\x03\x04" + bytes(60), "archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
        (bytes(5000), "zero bytes"),
        (np.random.default_rng(1).bytes(20_000), "unknown binary"),
    ],
)
def test_other_files_are_not_videos_and_the_message_says_what_they_are(
    content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    error = refusal(path)
    assert error.reason == "not_a_video"
    assert "film.mp4" in str(error) and words in str(error)


def test_random_bytes_of_many_seeds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    for seed in range(40):
        path.write_bytes(np.random.default_rng(seed).bytes(4000))
        assert refusal(path).reason in ("not_a_video", "no_video_stream", "corrupt", "truncated")


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile {other}\n",
        "ffconcat version 1.0\nfile /etc/hostname\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/x.ts\n",
        "<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/hostname'/></svg>",
        "concat:{other}|{other}",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">'
        "<BaseURL>{other}</BaseURL></MPD>",
        "# timecode format v2\nsubtitle\n1\n00:00:00,000 --> 00:00:01,000\nhello\n",
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".ffconcat", ".svg"])
def test_playlists_open_nothing_else(
    text: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write_video(tmp_path / "other.mp4", Recipe(frames=3))
    path = tmp_path / f"attack{suffix}"
    path.write_text(text.format(other=other.name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("a socket was opened"))
    assert refusal(path).reason == "not_a_video"


def test_an_image_sequence_pattern_is_only_a_name(tmp_path: Path) -> None:
    for number in range(3):
        av.VideoFrame.from_ndarray(draw_picture(number, 64, 64), format="rgb24").save(
            str(tmp_path / f"p{number}.png")
        )
    with pytest.raises(VideoError) as caught:
        scan(tmp_path / "p%d.png", LIMITS)
    assert caught.value.reason == "missing"
    real = write_video(tmp_path / "p%d.mp4", Recipe(frames=3))
    assert scan(real, LIMITS).frames == 3


@pytest.mark.parametrize(
    "name",
    [
        "a:b.mp4",
        "-i.mp4",
        "film (1).mp4",
        "new\nline.mp4",
        "quote'\".mp4",
        "\u00e4\u4e2d.mp4",
        b"\xff\xfe.mp4",
        "x" * 251 + ".mp4",
    ],
)
def test_names_are_only_names(
    name: str | bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = write_video(tmp_path / "plain.mp4", Recipe(frames=3))
    path = Path(os.fsdecode(name))
    os.rename(plain, path)
    assert scan(path, LIMITS).frames == 3


@pytest.mark.parametrize("planned", [True, False])
def test_pipes_folders_and_devices_never_block(planned: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    for path in (
        tmp_path / "pipe.mp4",
        tmp_path / "folder.mp4",
        tmp_path / "loop.mp4",
        Path("/dev/null"),
    ):
        with pytest.raises(VideoError) as caught:
            scan(path, LIMITS, planned=planned)
        assert caught.value.reason == "not_a_file"


def test_absent_and_forbidden_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(tmp_path / "none.mp4").reason == "missing"
    path = write_video(tmp_path / "v.mp4", Recipe(frames=3))

    def forbid(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # chmod 000 does not bind the superuser, so the refusal of the system is put in its place.
    monkeypatch.setattr("builtins.open", forbid)
    assert refusal(path).reason == "permission"


def write_sound(path: Path, codec: str = "aac") -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16000, layout="mono")
        wave = (np.sin(np.arange(16000) / 20) * 9000).astype(np.int16)[None]
        sound = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    "name, codec",
    [("a.mp4", "aac"), ("a.mkv", "aac"), ("a.wav", "pcm_s16le"), ("a.avi", "pcm_s16le")],
)
def test_sound_alone_has_no_video_stream(name: str, codec: str, tmp_path: Path) -> None:
    assert refusal(write_sound(tmp_path / name, codec)).reason == "no_video_stream"


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_named_as_video_has_no_video_stream(suffix: str, tmp_path: Path) -> None:
    av.VideoFrame.from_ndarray(draw_picture(0, 64, 64), format="rgb24").save(
        str(tmp_path / f"p{suffix}")
    )
    assert refusal((tmp_path / f"p{suffix}").rename(tmp_path / "v.mp4")).reason == "no_video_stream"


def write_two_streams(path: Path, cover: bool) -> Path:
    """First a still cover or a small video of 64x64, then the film of 160x120."""
    with av.open(str(path), "w") as container:
        first = container.add_stream("mjpeg" if cover else "libx264", rate=25)
        first.width, first.height, first.pix_fmt = 64, 64, "yuvj420p" if cover else "yuv420p"
        if cover:
            first.disposition = av.stream.Disposition.attached_pic
        film = container.add_stream("libx264", rate=25)
        film.width, film.height, film.pix_fmt = 160, 120, "yuv420p"
        for number in range(12):
            if number == 0 or not cover:
                small = av.VideoFrame.from_ndarray(draw_picture(number, 64, 64), format="rgb24")
                small.pts = number
                container.mux(first.encode(small))
            frame = av.VideoFrame.from_ndarray(draw_picture(number, 160, 120), format="rgb24")
            frame.pts = number
            container.mux(film.encode(frame))
        container.mux(first.encode(None))
        container.mux(film.encode(None))
    return path


@pytest.mark.parametrize("cover, size", [(True, (160, 120)), (False, (64, 64))])
def test_cover_art_is_ignored_and_the_first_real_stream_taken(
    cover: bool, size: tuple, tmp_path: Path
) -> None:
    path = write_two_streams(tmp_path / "v.mp4", cover)
    info = scan(path, LIMITS)
    assert (info.width, info.height) == size and info.frames == 12
    assert next(decode_clips(path, info, np.array([[3, 4]]))).pixels.shape == (
        2,
        size[1],
        size[0],
        3,
    )


def test_only_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        cover = container.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(
            cover.encode(av.VideoFrame.from_ndarray(draw_picture(0, 64, 64), format="rgb24"))
        )
        container.mux(cover.encode(None))
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.int16), format="s16", layout="mono"
        )
        silence.sample_rate = 16000
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    assert refusal(path).reason == "no_video_stream"


def patch_size(data: bytes, width: int, height: int) -> bytes:
    """Rewrite width and height in the sample entry of an mp4 (avc1 box: 24 bytes after its
    type).
    """
    at = data.index(b"avc1", data.index(b"stsd")) + 4 + 24
    return data[:at] + width.to_bytes(2, "big") + height.to_bytes(2, "big") + data[at + 4 :]


def test_sizes_beyond_the_limits_are_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = write_video(
        tmp_path / "huge.mkv", Recipe("ffv1", ".mkv", "gray", frames=1, size=(9000, 600))
    )
    monkeypatch.setattr(
        "unmask.pipeline.decode.scan.list_packets", lambda *_: pytest.fail("a packet was read")
    )
    monkeypatch.setattr(
        "unmask.pipeline.decode.scan.decode_all",
        lambda *_: pytest.fail("a packet was decoded"),
    )
    error = refusal(huge)
    assert error.reason == "too_large" and "9000x600" in str(error)
    small = write_video(tmp_path / "v.mp4", Recipe(frames=2))
    assert refusal(small, Limits(max_pixels=160 * 120 - 1)).reason == "too_large"
    assert refusal(small, Limits(max_side=159)).reason == "too_large"
    assert refusal(small, Limits(min_side=121)).reason == "too_small"
    tiny = write_video(
        tmp_path / "tiny.mp4", Recipe("mpeg4", frames=2, size=(64, 22)), [_blank(64, 22)] * 2
    )
    assert refusal(tiny).reason == "too_small"


def _blank(width: int, height: int) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")


def test_a_lying_header_cannot_make_the_decoder_allocate_more(tmp_path: Path) -> None:
    """The container says 160x120, the stream inside is 3200x2400: the decoder's own limit stops
    it.
    """
    path = write_video(
        tmp_path / "v.mp4", Recipe(size=(3200, 2400), frames=1, options={"preset": "ultrafast"})
    )
    path.write_bytes(patch_size(path.read_bytes(), 160, 120))
    with pytest.raises(VideoError) as caught:
        scan(path, Limits(max_pixels=1_000_000))
    assert caught.value.reason in ("too_large", "corrupt", "truncated")


def test_more_frames_than_allowed_are_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", Recipe(frames=12))
    assert refusal(path, Limits(max_frames=11)).reason == "too_large"
    assert scan(path, Limits(max_frames=12)).frames == 12


def test_a_codec_without_decoder_is_named_so(tmp_path: Path) -> None:
    """The sample entry's four letters name a codec that nobody knows."""
    path = write_video(tmp_path / "v.mp4", Recipe(frames=5))
    data = path.read_bytes()
    at = data.index(b"avc1", data.index(b"stsd"))
    path.write_bytes(data[:at] + b"zzz9" + data[at + 4 :])
    assert refusal(path).reason == "unsupported_codec"


def test_reasons_survive_the_way_from_a_worker(tmp_path: Path) -> None:
    error = refusal(tmp_path / "none.mp4")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.reason, copy.detail) == (error.reason, error.detail)


def test_an_info_travels_to_a_worker_and_decodes_there(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", Recipe(frames=12))
    info = pickle.loads(pickle.dumps(scan(path, LIMITS)))
    assert next(decode_clips(path, info, np.array([[0, 11]]))).index.tolist() == [0, 11]


@pytest.mark.parametrize("head", [b"\0", b"\xff", b"<", b"G" * 400, b"RIFF", bytes(range(256))])
def test_the_guess_has_an_answer_for_any_bytes(head: bytes) -> None:
    words, kind = guess(head)
    assert words and kind in ("other", "still", "video")

"""One small video in every container and way of packing that damage meets differently."""

from __future__ import annotations

from pathlib import Path

from tests.support.drawn_videos import Recipe, write_video

FRAMES = 40
_X264 = {"x264-params": "keyint=10:min-keyint=10:scenecut=0"}

KINDS: dict[str, Recipe] = {
    "mp4": Recipe(frames=FRAMES, options=_X264),
    "faststart": Recipe(frames=FRAMES, options=_X264, muxer={"movflags": "faststart"}),
    "fragmented": Recipe(
        frames=FRAMES, options=_X264, muxer={"movflags": "frag_keyframe+empty_moov"}
    ),
    "hevc": Recipe("libx265", frames=FRAMES, options={"x265-params": "keyint=10:log-level=none"}),
    "mkv": Recipe(suffix=".mkv", frames=FRAMES, options=_X264),
    "webm": Recipe("libvpx", ".webm", frames=FRAMES, options={"g": "10"}),
    "live webm": Recipe("libvpx", ".webm", frames=FRAMES, options={"g": "10"}, muxer={"live": "1"}),
    "vp9 webm": Recipe(
        "libvpx-vp9",
        ".webm",
        frames=FRAMES,
        options={"g": "10", "deadline": "realtime", "cpu-used": "8"},
    ),
    "mpeg4 avi": Recipe("mpeg4", ".avi", frames=FRAMES, options={"g": "10"}),
    "mjpeg avi": Recipe("mjpeg", ".avi", "yuvj420p", frames=FRAMES),
    "ts": Recipe(suffix=".ts", frames=FRAMES, options=_X264),
    "mpeg2 ts": Recipe("mpeg2video", ".ts", frames=FRAMES, options={"g": "10"}),
    "m2ts": Recipe(suffix=".m2ts", frames=FRAMES, options=_X264),
    "mpg": Recipe("mpeg2video", ".mpg", frames=FRAMES, options={"g": "10"}),
    "gif": Recipe("gif", ".gif", "rgb8", frames=FRAMES),
    "flv": Recipe(suffix=".flv", frames=FRAMES, options=_X264),
    "wmv": Recipe("wmv2", ".wmv", frames=FRAMES, options={"g": "10"}),
    "mov": Recipe("mpeg4", ".mov", frames=FRAMES, options={"g": "10"}),
}


def draw_kinds(folder: Path) -> dict[str, Path]:
    """Every kind as a whole file."""
    return {
        name: write_video(folder / f"{name.replace(' ', '_')}{recipe.suffix}", recipe)
        for name, recipe in KINDS.items()
    }

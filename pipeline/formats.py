"""Which containers are read and under which extensions they lie on disk: one table for discovery
and for decoding.
"""

from __future__ import annotations

# FFmpeg's name of a demuxer that reads one self-contained file -> extensions of its files that may
# hold a video.
CONTAINERS: dict[str, tuple[str, ...]] = {
    "mov,mp4,m4a,3gp,3g2,mj2": (".mp4", ".mov", ".m4v", ".3gp", ".3g2"),
    "matroska,webm": (".mkv", ".webm"),
    "avi": (".avi",),
    "mpegts": (".ts", ".mts", ".m2ts"),
    "mpeg": (".mpg", ".mpeg", ".vob"),
    "gif": (".gif",),
    "flv": (".flv",),
    "asf": (".wmv", ".asf"),
    "ogg": (".ogv",),
}

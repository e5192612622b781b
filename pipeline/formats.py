"""Which containers are read, under which extensions they lie on disk and how they begin: one table
for discovery and for decoding.
"""

from __future__ import annotations

import re

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

# First bytes (regular expression) -> what the file looks like, and what it then is: other, nothing
# to see, video.
_SIGNATURES = (
    (rb"\s*(?:<!doctype html|<html|<head|<body)", "an HTML page", "other"),
    (rb"\s*(?:<\?xml.{0,400})?<svg", "an SVG drawing", "other"),
    (rb"\s*<\?xml", "an XML document", "other"),
    (rb"\s*(?:#EXTM3U|ffconcat|\[playlist\])", "a playlist", "other"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "a compressed archive", "other"),
    (rb"%PDF", "a PDF document", "other"),
    (
        rb"version https://git-lfs",
        "a Git LFS pointer, the video itself was not downloaded",
        "other",
    ),
    (rb"\xff\xd8\xff", "a JPEG picture", "still"),
    (rb"\x89PNG\r\n\x1a\n", "a PNG picture", "still"),
    (rb"BM.{4}\0\0\0\0|II\*\0|MM\0\*|RIFF.{4}WEBP", "a picture", "still"),
    (rb"RIFF.{4}WAVE|ID3|fLaC|\xff[\xf1\xf9\xfb\xfa\xf3\xf2]|#!AMR", "a sound file", "still"),
    (
        rb"RIFF.{4}AVI |.{4}(?:ftyp|moov|mdat|wide|free|skip)|\x1a\x45\xdf\xa3|GIF8[79]a|FLV\x01",
        "a video",
        "video",
    ),
    (rb"G.{187}G.{187}G|\0\0\x01\xba|\x30\x26\xb2\x75|OggS", "a video", "video"),
)


# Bytes that guess() asks for; brands of mp4 that are pictures or sound; what Ogg calls its videos.
HEAD = 1024
_NO_VIDEO_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"M4A ", b"M4B ")
_OGG_VIDEO = re.compile(rb"theora|BBCD|OVP80")


def guess(head: bytes) -> tuple[str, str]:
    """Say what a file looks like by its first bytes: words for a person, and `other`, `still` or
    `video`.
    """
    if not head:
        return "an empty file", "other"
    for pattern, words, kind in _SIGNATURES:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            return words, kind
    if not head.strip(b"\0"):
        return "nothing but zero bytes", "other"
    try:
        text = head[:512].decode("utf-8", errors="strict" if len(head) < 512 else "ignore")
    except UnicodeDecodeError:
        text = "\0"
    if all(letter.isprintable() or letter.isspace() for letter in text):
        return "plain text", "other"
    return "unknown binary data", "other"


def begins_like_video(head: bytes) -> bool:
    """Whether a file of any name is worth a try as a video; head: its first HEAD bytes."""
    if guess(head)[1] != "video" or head[8:12] in _NO_VIDEO_BRANDS:
        return False
    return not head.startswith(b"OggS") or _OGG_VIDEO.search(head) is not None

"""Planned decode of the 80 wanted frames against sequential decode of the file: CPU seconds, by
keyframe interval.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks import media
from benchmarks.extraction import decode_all
from benchmarks.rows import Row, alternate
from unmask.pipeline.config import Limits
from unmask.pipeline.decode.containers import open_container
from unmask.pipeline.decode.planned import decode_planned
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.decode.windows import spread_clips
from unmask.pipeline.machine.worker_pool import settle

# keyframe interval -> at most this share of the CPU seconds
TARGETS = {250: 0.65, 50: 0.5, 12: 0.5}


def decode_wanted(path: Path) -> int:
    """Scan, plan, and decode the frames of 16 clips of 5; no pixel converted."""
    info = scan(path, Limits())
    wanted = np.unique(spread_clips(info.frames, 16, 5))
    assert info.packets is not None and info.method == "planned", info.guard
    with open_container(path, info.width * info.height) as (container, stream):
        return sum(1 for _ in decode_planned(container, stream, info.packets, wanted))


def rows(scratch: Path, full: bool) -> list[Row]:
    """720p and, in the full form, 1080p too; at each interval a video of 17 s and one of 34 s."""
    settle()
    found = []
    for size in media.SIZES if full else ("720p",):
        for keyint, target in TARGETS.items():
            clip = media.make(scratch, size, "4:2:0", keyint=keyint)
            for times, seconds in ((1, 17), (2, 34)):
                what = f"planned decode {size}, keyint {keyint}, {seconds} s"
                found.append(_row(media.loop(clip, times) if times > 1 else clip, what, target, 5))
    return found


def _row(clip: media.Clip, what: str, target: float, rounds: int) -> Row:
    seconds = alternate(
        {"all": lambda: decode_all(clip.path), "planned": lambda: decode_wanted(clip.path)}, rounds
    )
    ours, other = seconds["planned"].cpu, seconds["all"].cpu
    note = f"{clip.about}: {ours:.2f} of {other:.2f} CPU s, scan included"
    return Row(what, "sequential, CPU seconds", ours / other, target, note, most=True)

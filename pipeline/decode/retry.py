"""The one place that knows what a broken plan means: everything read so far is dropped, and the
video is read again packet by packet.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from unmask.pipeline.config import Limits
from unmask.pipeline.decode.planned import PlanBroken
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.records import VideoInfo

Result = TypeVar("Result")


def with_fallback(path: Path, limits: Limits, read: Callable[[VideoInfo], Result]) -> Result:
    """Scan a video and give what `read` makes of it, planned where that is exact, else sequential.

    read: takes scan's answer and decodes; it is called a second time, from the start, when a guard
        of planned decoding fires. It must keep nothing from its first call.
    Raises VideoError like scan and decode_clips, and whatever `read` raises.
    """
    try:
        return read(scan(path, limits))
    except PlanBroken as broken:
        guard = str(broken)
    # Outside the handler: the traceback would keep the first attempt's pictures in memory.
    return read(scan(path, limits, planned=False, guard=guard))

"""What a video promised beside what came out of it: one account for all containers.

The promise is read from everything that makes one: packets, the steps of steady times, declared
durations and picture counts, and the structure of the file (ending.py). What is missing at the end
is a cut; what is missing before it is a loss, and numbers behind a loss stay those of the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from numpy.typing import NDArray

from unmask.pipeline.decode.ending import Ending
from unmask.pipeline.decode.packets import NO_TIME, is_steady

# Containers whose index names every picture: an empty step between two times is the writer's own.
_COUNTED = ("mov,mp4,m4a,3gp,3g2,mj2", "avi", "gif")
# Containers whose times count from the start of the recording, so that a late first time is a loss.
_FROM_ZERO = ("matroska,webm", "flv", "asf")
_LATE = 0.5  # seconds; pictures often begin a little after the sound
_LONGEST = 1e7  # seconds; a longer declared duration is damage, not a promise
# A VOP that says "not coded" repeats the picture before it and gives no frame.
_NOT_CODED_BYTES = 8


@dataclass(frozen=True)
class Evidence:
    """What the packets and frames told while they passed.

    packets: (n,) pts of the packets that promise a picture, NO_TIME where one has none.
    ticks: (frames,) times of the frames that came out, None where they are unusable.
    frames: how many came out.
    discarded: packets that the container hides.
    bad, corrupt: packets that cannot be decoded, packets and frames marked corrupt; the last packet
        left out, where a cut shows.
    last_bad: whether the last packet was one of them, or holds a picture only in part.
    ended_early: the demuxer stopped with an error.
    starts_inside: the first packet is no keyframe.
    first_dts: of the first packet that has one, ticks.
    last_dts: the highest, ticks.
    interlaced: a packet may hold one field of two.
    """

    packets: NDArray[np.int64]
    ticks: NDArray[np.int64] | None
    frames: int
    discarded: int = 0
    bad: int = 0
    corrupt: int = 0
    last_bad: bool = False
    ended_early: bool = False
    starts_inside: bool = False
    first_dts: int = 0
    last_dts: int | None = None
    interlaced: bool = False


@dataclass(frozen=True)
class Account:
    """What is missing.

    frames: that came out.
    lost: frames missing between others, or before the first one.
    late: frames before the first that can be decoded, as in a recording that starts inside a
        group of pictures.
    cut: frames missing at the end.
    gaps: empty steps between steady times that nothing else calls damage.
    damaged, incomplete: flags of VideoInfo.
    numbers: (frames,) numbers in the file where frames are lost and their times tell, else None.
    words: all of this for a person, "" where nothing is missing.
    """

    frames: int
    lost: int
    late: int
    cut: int
    gaps: int
    damaged: bool
    incomplete: bool
    numbers: NDArray[np.int64] | None
    words: str

    @property
    def promised(self) -> int:
        return self.frames + self.lost + self.late + self.cut + self.gaps

    def share_lost(self) -> float:
        """Of the promised frames; a cut end and a late start are no damage."""
        return self.lost / max(self.promised, 1)


def settle(
    container: InputContainer, stream: VideoStream, ending: Ending, found: Evidence
) -> Account:
    """Balance what came out against every promise."""
    name, ticks = container.format.name, found.ticks
    step = _step(ticks)
    late, inside, tail = _without_frame(found, name)
    proven = bool(
        inside or found.bad or found.corrupt or found.ended_early or ending.broken or ending.cut
    )
    step = _grid(ticks) if step is None else step
    empty, behind = _empty_steps(ticks, step, found.last_dts)
    if name in _COUNTED:
        if ticks is None:  # then no time tells the hidden pictures from lost ones
            inside = max(inside, stream.frames - found.frames)
        empty, behind = min(empty + behind, found.discarded) if name != "gif" else 0, 0
        proven = True
    before = _before_first(found, name, step)
    late = max(late, 0 if before else _late_start(found, stream, name, step))
    declared = declared_end(container, stream, ending)
    cut = max(tail, behind + _cut(found, stream, name, step, declared))
    lost = max(inside - behind, found.bad, empty if proven else 0) + before
    if ending.pictures is not None and not ending.broken:
        lost = max(lost, ending.pictures - found.frames - bool(ending.cut))
    gaps = 0 if proven else empty
    damaged = bool(lost or found.bad or found.corrupt or found.ended_early or ending.broken)
    short = bool(cut or late or ending.cut or found.last_bad)
    numbers = None
    if lost and step and ticks is not None and (inside or empty or before):
        numbers = np.rint((ticks - ticks[0]) / step).astype(np.int64) + before + late
        numbers = numbers if (np.diff(numbers) > 0).all() else None
    account = Account(found.frames, lost, late, cut, gaps, damaged, damaged or short, numbers, "")
    return _worded(account, found, ending)


def _worded(account: Account, found: Evidence, ending: Ending) -> Account:
    if not (account.incomplete or account.gaps):
        return account
    more = " at least" if ending.cut and ending.seconds is None else ""
    parts = [
        f"{count} {words}"
        for count, words in (
            (account.lost, "lost"),
            (account.late, "before the first that can be decoded"),
            (account.cut, f"missing at the end{more}"),
            (account.gaps, "missing between steady times"),
            (found.bad, "packets cannot be decoded"),
            (found.corrupt, "packets or frames marked corrupt"),
        )
        if count
    ]
    parts += [f"the file is cut: {ending.cut}"] if ending.cut else []
    parts += [f"the file is damaged: {ending.broken}"] if ending.broken else []
    parts += ["the last packet is damaged"] if found.last_bad else []
    parts += ["reading ended with an error"] if found.ended_early else []
    words = f"{account.frames} of {account.promised} frames: {', '.join(parts)}"
    return Account(**{**vars(account), "words": words})


def _step(ticks: NDArray[np.int64] | None) -> float | None:
    """The step of steady times, ticks."""
    if ticks is None or len(ticks) < 3 or not is_steady(np.diff(ticks)):
        return None
    steps = np.diff(ticks)
    usual = float(np.median(steps))
    near = steps[np.abs(steps - usual) <= 1]
    return float(near.mean()) if usual > 0 else None


def _empty_steps(
    ticks: NDArray[np.int64] | None, step: float | None, last_dts: int | None
) -> tuple[int, int]:
    """Steps without a frame: between packets that were read, and behind the last of them.

    Packets come in the order of their dts, which is never above their pts: frames behind the
    highest dts may be missing only because the file ends.
    """
    if ticks is None or step is None:
        return 0, 0
    steps = np.diff(ticks) / step
    empty = np.where(steps > 1.5, np.rint(steps) - 1, 0).astype(np.int64)
    behind = ticks[:-1] + step > (np.inf if last_dts is None else last_dts)
    return int(empty[~behind].sum()), int(empty[behind].sum())


def _grid(ticks: NDArray[np.int64] | None) -> float | None:
    """The step, ticks, of which all steps between the times are multiples, most of them single."""
    if ticks is None or len(ticks) < 3:
        return None
    steps = np.diff(ticks)
    usual = float(np.median(steps))
    single = np.abs(steps - usual) <= max(1.0, 0.02 * usual)
    if usual < 8 or single.mean() < 0.75:
        return None
    step = float(steps[single].mean())
    return step if (np.abs(steps / step - np.rint(steps / step)) < 0.2).all() else None


def _without_frame(found: Evidence, name: str) -> tuple[int, int, int]:
    """Packets that promised a picture and gave none: before the first frame, between, after the
    last.
    """
    packets, ticks = found.packets, found.ticks
    timed = packets[packets != NO_TIME]
    if ticks is None or not len(ticks) or len(timed) < len(packets) or name == "avi":
        promised = len(timed) if found.interlaced and len(timed) else len(packets)
        missing = max(0, promised - found.frames)
        tail = min(missing, int(found.last_bad))
        return 0, missing - tail, tail
    missing = np.setdiff1d(timed, ticks)
    late, tail = int((missing < ticks[0]).sum()), int((missing > ticks[-1]).sum())
    # A decoder may correct a time; then some packet seems to lack the frame that has another time.
    inside = min(len(missing) - late - tail, max(0, len(timed) - found.frames - late - tail))
    return late, inside, tail


def _before_first(found: Evidence, name: str, step: float | None) -> int:
    """Frames whose packets are gone before the first one, which then refers to them."""
    if name not in _FROM_ZERO or step is None or not found.starts_inside:
        return 0
    return max(0, int(found.first_dts / step + 0.25))


def _late_start(found: Evidence, stream: VideoStream, name: str, step: float | None) -> int:
    """Frames that would fit before a first picture that comes late in a recording's own time."""
    late = found.first_dts * float(stream.time_base)
    if name not in _FROM_ZERO or step is None or late < _LATE:
        return 0
    return int(found.first_dts / step + 0.25)


def _cut(
    found: Evidence,
    stream: VideoStream,
    name: str,
    step: float | None,
    declared: float | None,
) -> int:
    """Frames that are missing at the end, as far as something counts them."""
    if name == "avi":
        place = found.last_dts
        return max(0, stream.frames - place - 1) if place is not None and stream.frames else 0
    if name == "gif" or found.ticks is None or not len(found.ticks):
        return 0
    if declared is None:
        return max(0, stream.frames - len(found.packets) - found.discarded)
    clock = float(stream.time_base)
    rate = float(stream.average_rate or stream.guessed_rate or 0) or 20.0
    seconds = step * clock if step is not None else 1 / rate
    short = (declared - float(found.ticks[-1]) * clock) / seconds - 1
    # Where an index counts the pictures, its last one may be shown for longer.
    slack = 0.6 if step is not None and name in _FROM_ZERO else 1.5
    return int(np.rint(short)) if short > slack else 0


def declared_end(container: InputContainer, stream: VideoStream, ending: Ending) -> float | None:
    """Seconds at which the picture should end, None where the file does not say."""
    clock, zero = float(stream.time_base), container.format.name in _FROM_ZERO
    start = 0.0 if zero else (stream.start_time or 0) * clock
    found = ending.seconds
    if found is None and stream.duration is not None:
        found = start + stream.duration * clock
    if found is None:
        found = _tagged(stream.metadata.get("DURATION", ""))
    alone = len(container.streams) == 1 and container.duration is not None
    if found is None and alone:
        found = start + container.duration / 1e6
    return found if found is not None and 0 <= found < _LONGEST else None


def _tagged(text: str) -> float | None:
    """Seconds of Matroska's DURATION tag, None where it is no time."""
    found = re.fullmatch(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,12})?)", text, re.ASCII)
    return int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3]) if found else None


def promises_picture(packet: Packet, codec: str) -> bool:
    """Whether a packet should give a frame of its own: not one that is hidden, empty or says
    "not coded".

    VP8 and VP9 tell in the first byte whether their picture is shown (RFC 6386, section 9.1; VP9
    bitstream specification 0.6, section 6.2).
    """
    if packet.is_discard or not packet.size:
        return False
    if codec == "mpeg4":
        return packet.size > _NOT_CODED_BYTES
    if codec not in ("vp8", "vp9"):
        return True
    data = memoryview(packet)
    if codec == "vp8":
        return bool(data[0] >> 4 & 1)
    together = data[-1] & 0xE0 == 0xC0
    return together or data[0] & 0x30 == 0x30 or bool(data[0] & 0x08 or data[0] & 0x02)


def holds_part(packet: Packet, codec: str, height: int) -> bool:
    """Whether a packet of MPEG-2 lacks the last rows of its picture; other codecs do not say.

    Each row of macroblocks has slices with its number (ISO/IEC 13818-2, section 6.2.4).
    """
    if codec != "mpeg2video":
        return False
    data = bytes(packet)
    last_row, field, at = 0, False, data.find(b"\0\0\x01")
    while 0 <= at < len(data) - 6:
        code = data[at + 3]
        if 1 <= code <= 0xAF:
            last_row = max(last_row, code)
        elif code == 0xB5 and data[at + 4] >> 4 == 8:  # picture coding extension
            field = data[at + 6] & 3 != 3
        at = data.find(b"\0\0\x01", at + 3)
    return 0 < last_row < -(-height // (32 if field else 16)) and height <= 2800

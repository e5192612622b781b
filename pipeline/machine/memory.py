"""How much freed memory this process keeps instead of giving it back to the system."""

from __future__ import annotations

import ctypes
import platform

# malloc.h: parameters of mallopt.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4

# What a worker keeps of freed memory: pictures and crops of one video come and go, a larger video's
# should not stay.
KEPT_BLOCK, KEPT = 32 << 20, 96 << 20


def keep_freed_memory(device: str) -> None:
    """Let this process keep what a step on the CPU frees, for the next step; nothing on a GPU or
    without glibc.

    glibc gives every large block back to the system and asks for it again, page by page. On 2 cores
    that was half of a training step of CLRNet, Xception-LSTM and M2TR (benchmarks/throughput.md);
    kept, memory grows by 5 to 8 %.
    """
    if device == "cpu":
        _mallopt((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, 256 << 20))


def keep_some_freed_memory() -> None:
    """The same within bounds, for a process that goes through videos of all sizes."""
    _mallopt((M_MMAP_THRESHOLD, KEPT_BLOCK), (M_TRIM_THRESHOLD, KEPT))


def _mallopt(*settings: tuple[int, int]) -> None:
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in settings:
            mallopt(parameter, value)

"""How much freed memory this process keeps, and whether a failure means that memory ran out."""

from __future__ import annotations

import ctypes
import errno
import platform
import re
from pathlib import Path

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


def limit_memory(mib: int) -> None:
    """Bound the address space of this process and its children; 0 sets no bound."""
    if mib:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (mib << 20, mib << 20))


# How torch, OpenCV, the dynamic linker and Python itself say that memory ran out; none of them
# raises MemoryError.
_TOLD = re.compile(
    r"DefaultCPUAllocator|can't allocate memory|[Cc]annot allocate memory|out of memory"
    r"|Insufficient memory|failed to map segment|can't start new thread|std::bad_alloc"
)
# oneDNN, which computes torch's convolutions, says no more than this when it gets no memory.
_TOLD_NO_MORE = re.compile(r"could not (create|execute) a primitive(?! descriptor)")
_ROOM = 256 << 20  # bytes; a limit that came closer than this may be what made a decoder fail


def is_memory_error(error: BaseException) -> bool:
    """Whether an error says that memory ran out, whichever library raised it."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    # cv2.error is a plain Exception of its own.
    foreign = type(error).__module__.partition(".")[0] in ("cv2", "torch")
    if not (foreign or isinstance(error, (RuntimeError, ImportError))):
        return False
    told = str(error)
    return bool(_TOLD.search(told) or (_limited() and _TOLD_NO_MORE.search(told)))


def near_limit() -> bool:
    """Whether this process ever came close to its address-space limit; False without one.

    A library that gets no memory may report damage instead: then a file's fault and the limit's
    cannot be told apart, and another try is right.
    """
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return False
    peak = _told("VmPeak")
    return peak is not None and limit - peak * 1024 < max(_ROOM, limit // 16)


def _limited() -> bool:
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def address_space() -> int:
    """MiB of address space this process has now; 0 where the system does not say."""
    return (_told("VmSize") or 0) // 1024


def _told(name: str) -> int | None:
    """A size in kB that Linux tells of this process."""
    try:
        found = re.search(rf"{name}:\s*(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return None if found is None else int(found[1])


def _mallopt(*settings: tuple[int, int]) -> None:
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in settings:
            mallopt(parameter, value)

"""The usual traps of this road on this machine, each with its remedy; every check is a real trial,
not a guess.

What a check looks at is imported inside it: a library that is broken here must become a finding
with a remedy, not the end of doctor.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

State = Literal["ok", "warn", "fail"]

DECODERS = ("h264", "hevc", "mpeg4", "vp9", "av1", "mjpeg", "gif")
SMALL_DISK = 5 << 30
SMALL_TEMPORARY = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its state, what was seen, and what to do where it is not ok."""

    name: str
    state: State
    seen: str
    remedy: str = ""


def examine(cache: Path) -> Iterator[Finding]:
    """All findings, in the order a newcomer would meet the traps; a check that breaks is itself a
    finding.
    """
    for check in (
        python,
        packages,
        detector_pins,
        torch_pair,
        decoders,
        pixels,
        encoder,
        device,
        safe_loading,
        cores,
        temporary,
    ):
        yield _guarded(check.__name__.replace("_", " "), check)
    yield _guarded("disk", lambda: disk(cache))
    yield _guarded("locks", lambda: locks(cache))
    yield _guarded("cache", lambda: cache_health(cache))


def python() -> Finding:
    """The interpreter; 3.11 is the oldest that the current zarr runs on."""
    return Finding(
        "python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    )


def packages() -> Finding:
    """Versions of what decides pixels and numbers."""
    names = (
        "torch",
        "torchvision",
        "facenet-pytorch",
        "av",
        "opencv-python-headless",
        "zarr",
        "numpy",
        "scipy",
        "timm",
    )
    return Finding("packages", "ok", ", ".join(f"{name} {_version(name)}" for name in names))


def detector_pins() -> Finding:
    """facenet-pytorch 2.6 pins torch < 2.3 and numpy < 2; 2.5.3 has the same weights and no
    pins.
    """
    found = _version("facenet-pytorch")
    if found == "2.5.3":
        return Finding("detector pins", "ok", "facenet-pytorch 2.5.3, no upper pins")
    return Finding(
        "detector pins", "fail", f"facenet-pytorch {found}", "pip install facenet-pytorch==2.5.3"
    )


def torch_pair() -> Finding:
    """torchvision's compiled operators load only beside the torch build they were made for."""
    import torch

    try:
        from torchvision.ops import nms

        kept = nms(torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4]]), torch.tensor([0.9, 0.8]), 0.5)
        assert kept.tolist() == [0]
    except (ImportError, RuntimeError, AssertionError) as error:
        seen = f"torch {_version('torch')}, torchvision {_version('torchvision')}: {error}"
        return Finding(
            "torch pair",
            "fail",
            seen,
            "pip install --force-reinstall torch torchvision (one command)",
        )
    return Finding("torch pair", "ok", "torchvision's operators run with this torch")


def decoders() -> Finding:
    """What the FFmpeg libraries inside PyAV can read."""
    import av

    lacking = [name for name in DECODERS if name not in av.codecs_available]
    if lacking:
        return Finding(
            "decoders",
            "warn",
            f"no {', '.join(lacking)}",
            "pip install --force-reinstall --only-binary av av",
        )
    return Finding("decoders", "ok", ", ".join(DECODERS))


def pixels() -> Finding:
    """Which reference values this machine gives: caches of machines with the same ones may be
    mixed.
    """
    from unmask.pipeline.config import CropConfig
    from unmask.pipeline.extraction.reference import judged, measure

    crop = CropConfig()
    name, differing = judged(measure(crop), crop.detector)
    if not differing:
        return Finding("pixels", "ok", f"as reference {name}: decoding, crops, faces, bands")
    return Finding(
        "pixels",
        "warn",
        f"as no reference ({name}): {', '.join(differing)} differ",
        "its caches get keys of their own; to share caches, install the versions of the machine "
        "that made them",
    )


def encoder() -> Finding:
    """The demo, the compression augmentation and annotated videos write H.264."""
    import av

    try:
        av.codec.Codec("libx264", "w")
    except av.error.FFmpegError:
        return Finding(
            "encoder", "warn", "no libx264", "pip install --force-reinstall --only-binary av av"
        )
    return Finding("encoder", "ok", "libx264")


def device() -> Finding:
    """Whether a GPU answers a real computation."""
    import torch

    if not torch.cuda.is_available():
        why = (
            "a CPU build of torch" if torch.version.cuda is None else "no driver or no card answers"
        )
        return Finding(
            "device", "warn", f"cpu only ({why})", "training wants a GPU; extraction does not"
        )
    card = torch.cuda.get_device_properties(0)
    torch.ones(8, device="cuda").sum().item()
    return Finding("device", "ok", f"{card.name}, {card.total_memory >> 30} GiB")


def safe_loading() -> Finding:
    """An environment variable can switch torch.load back to executing what a file says."""
    if os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        remedy = "unset TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
        return Finding("safe loading", "fail", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is set", remedy)
    return Finding("safe loading", "ok", "checkpoints cannot execute code")


def cores() -> Finding:
    """Cores this process may use; a container often has fewer than the machine."""
    allowed, present = len(os.sched_getaffinity(0)), os.cpu_count() or 1
    return Finding(
        "cores", "ok", f"{allowed} of {present} usable; --jobs -1 takes what the container allows"
    )


def temporary() -> Finding:
    """Worker processes exchange data through the temporary folder; a full tmpfs stops them all."""
    for folder in {Path(tempfile.gettempdir()), Path("/dev/shm")}:
        if folder.is_dir():
            free = shutil.disk_usage(folder).free
            if free < SMALL_TEMPORARY:
                seen = f"{folder} has {free >> 20} MiB free"
                return Finding(
                    "temporary",
                    "fail",
                    seen,
                    "empty it, or point TMPDIR (and JOBLIB_TEMP_FOLDER) elsewhere",
                )
    return Finding("temporary", "ok", "room for the workers")


def disk(cache: Path) -> Finding:
    """FF++ c23 with all methods needs about 60 GiB of crops at the default settings."""
    place = next(p for p in (cache.absolute(), *cache.absolute().parents) if p.exists())
    free = shutil.disk_usage(place).free
    state: State = "ok" if free > SMALL_DISK else "warn"
    return Finding(
        "disk",
        state,
        f"{free / 2**30:,.1f} GiB free for {cache}",
        "" if state == "ok" else "choose --cache",
    )


def locks(cache: Path) -> Finding:
    """Two runs are kept apart by flock, which some network file systems do not have."""
    from unmask.pipeline.disk.locks import lock_cache
    from unmask.pipeline.errors import CacheError

    place = next(p for p in (cache.absolute(), *cache.absolute().parents) if p.exists())
    if not os.access(place, os.W_OK):
        return Finding(
            "locks",
            "warn",
            f"{place} is read-only",
            "extract needs a writable --cache; train does not",
        )
    with tempfile.TemporaryDirectory(dir=place) as folder:
        try:
            with lock_cache(Path(folder)):
                pass
        except CacheError as error:
            return Finding(
                "locks", "warn", str(error), "use --no-lock and start one extract at a time"
            )
    return Finding("locks", "ok", f"files can be locked under {place}")


def cache_health(cache: Path) -> Finding:
    """How many videos each cache folder holds, and what dead runs left there; `verify` reads every
    byte.
    """
    from unmask.pipeline.cache.check import cache_folders, video_folders
    from unmask.pipeline.cache.video import is_committed
    from unmask.pipeline.errors import CacheError

    try:
        parents = cache_folders(cache)
    except CacheError:
        return Finding("cache", "ok", f"nothing extracted under {cache} yet")
    torn = [f for parent in parents for f in video_folders(parent) if not is_committed(f)]
    stale = [p for parent in parents for p in parent.glob(".tmp-*")]
    count = sum(len(video_folders(parent)) for parent in parents)
    seen = (
        f"{count:,} videos in {len(parents)} folders, {len(torn)} damaged, {len(stale)} "
        "temporaries of stopped runs"
    )
    if torn:
        return Finding("cache", "fail", seen, f"unmask verify --cache {cache} --repair")
    return Finding(
        "cache", "warn" if stale else "ok", seen, "the next extract removes them" if stale else ""
    )


def _guarded(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (ImportError, OSError, RuntimeError) as error:
        return Finding(
            name,
            "fail",
            f"{type(error).__name__}: {error}",
            "reinstall unmask into a fresh environment",
        )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"

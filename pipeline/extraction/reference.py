"""Which pixels, boxes and coefficients this machine gives: a small probe, compared with reference
values that ship with unmask.

A drawn face in ten frames of H.264 goes through decoding, detection, cropping and the bands, and
what comes out is compared with `references/r1.json`: decoded pixels exactly, cropped ones but for
one grey level in a thousand values (OpenCV's warp rounds otherwise without AVX2), boxes and
landmarks within PIXELS, coefficients of a fixed array within STEPS of float16. The name of the
reference that it matches is in the cache key, so that a new release of a library that changes
nothing keeps a cache, and one that changes something never mixes with it. A machine that matches
none gets a name of its own, `x` and a digest of its rounded values.

What the probe cannot see: other codecs than H.264 (their decoders are exact by their standards),
and differences that only show on other pictures. The versions of the libraries stay in the
attributes of every video as a note.

The answer is kept for each machine in the user's cache folder, under a name that changes with the
libraries, the processor, unmask's own code and the switches of the environment.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.pipeline.config import PIXEL_LIBRARIES, CropConfig, Limits
from unmask.pipeline.disk.files import read_json, write_whole
from unmask.pipeline.errors import CacheError

FOLDER = Path(__file__).parent / "references"
CLIP = FOLDER / "clip.mp4"

# Newest first: the first one that matches names the machine.
REFERENCES = ("r1",)

# Differences that processors may make. Measured between AVX2 and plain code of torch, oneDNN and
# OpenCV, 1 and 2 threads: boxes 0.00002 px, coefficients equal, and one grey level in 3 of 100,000
# values of a crop.
PIXELS, CERTAINTY, STEPS, ODD_VALUES = 0.05, 0.005, 2, 0.001

# Coefficients below this are compared as if they were this large: the rounding of the float32
# transform does not shrink with them.
SMALL_COEFFICIENT = 2.0**-6

# Of the 3 x 7,260 coefficients of a crop, and of the values of the crops, every so many are
# compared.
EVERY, EVERY_VALUE = 97, 199

NAME = re.compile(r"r\d{1,3}|x[0-9a-f]{8}")
MAX_FILE = 2**20

# Beside the versions, these decide which code a library runs.
SWITCHES = ("ATEN_", "DNNL_", "ONEDNN_", "OPENCV_", "MKL_", "NPY_", "AV_", "LD_PRELOAD")
LIBRARIES = (*PIXEL_LIBRARIES, "numpy", "torchvision")


@dataclass(frozen=True)
class Outputs:
    """What one machine makes of the probe.

    decoded: sha256 of the frames' RGB pixels and times.
    cropped: (n,) uint8, values of crops with fixed transforms: enlarged, reduced, reduced beyond 2.
    box: (F, 4) and landmark: (F, 5, 2), px of the clip.
    prob: (F,).
    bands: (n,) float16, coefficients of a fixed array.
    """

    decoded: str
    cropped: NDArray[np.uint8]
    box: NDArray[np.float32]
    landmark: NDArray[np.float32]
    prob: NDArray[np.float32]
    bands: NDArray[np.float16]

    def differing(self, other: Outputs) -> list[str]:
        """Stages in which two machines differ by more than rounding: decode, crop, detect,
        bands.
        """
        stages = {
            "decode": self.decoded == other.decoded,
            "crop": _same_crops(self.cropped, other.cropped),
            "detect": _near(self.box, other.box, PIXELS)
            and _near(self.landmark, other.landmark, PIXELS)
            and _near(self.prob, other.prob, CERTAINTY),
            "bands": self.bands.shape == other.bands.shape and _same_bands(self.bands, other.bands),
        }
        return [stage for stage, same in stages.items() if not same]

    def as_values(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: _plain(value) for name, value in vars(self).items()}

    def digest(self) -> str:
        """8 hex digits of the values rounded to the tolerances, to tell a machine apart that
        matches no reference.
        """
        rounded = [
            self.decoded,
            (self.cropped // 4).tolist(),
            *(np.rint(part / PIXELS / 4).tolist() for part in (self.box, self.landmark)),
            np.rint(self.bands.astype(np.float64) * 64).tolist(),
        ]
        return hashlib.sha256(json.dumps(rounded).encode()).hexdigest()[:8]


def reference_of(crop: CropConfig) -> str:
    """The name of the reference that this machine matches with these settings' detector and
    device, `r1`, or `x` and 8 hex digits where it matches none.

    Asked of the probe once in a process, and once on a machine until a library changes.
    """
    return _reference(crop.detector, crop.device)


@functools.lru_cache(maxsize=8)
def _reference(detector: str, device: str) -> str:
    path = _kept(detector, device)
    if (known := _recalled(path)) is not None:
        return known
    name, _ = judged(measure(CropConfig(detector=detector, device=device)), detector)
    with contextlib.suppress(CacheError, OSError):  # a home that cannot be written costs a probe
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, json.dumps({"reference": name}).encode() + b"\n")
    return name


def judged(outputs: Outputs, detector: str) -> tuple[str, list[str]]:
    """(name, stages that differ from the newest reference) of what a machine gave."""
    first: list[str] | None = None
    for name in REFERENCES:
        differing = outputs.differing(read_reference(name, detector))
        if not differing:
            return name, []
        first = differing if first is None else first
    return f"x{outputs.digest()}", first or []


def read_reference(name: str, detector: str) -> Outputs:
    """Reference values that ship with unmask. Raises: CacheError for a damaged installation."""
    path = FOLDER / f"{name}.json"
    values = read_json(path, MAX_FILE, CacheError)
    try:
        found = values[detector]
        return Outputs(
            str(values["decoded"]),
            np.array(values["cropped"], np.uint8),
            np.array(found["box"], np.float32).reshape(-1, 4),
            np.array(found["landmark"], np.float32).reshape(-1, 5, 2),
            np.array(found["prob"], np.float32),
            np.array(values["bands"], np.float16),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CacheError(f"{path}: damaged ({error}); install unmask again") from error


def measure(crop: CropConfig) -> Outputs:
    """Run the probe: the detector and the device are those of `crop`, everything else is fixed."""
    # torch and PyAV: not loaded where the kept answer for this machine does
    from unmask.pipeline.cache.bands import coefficients
    from unmask.pipeline.decode.clips import decode_clips
    from unmask.pipeline.decode.scan import scan
    from unmask.pipeline.faces.crop import crop_frames
    from unmask.pipeline.faces.detector import build_detector

    info = scan(CLIP, Limits())
    windows = np.arange(info.frames).reshape(2, -1)  # two clips of consecutive frames
    clips = list(decode_clips(CLIP, info, windows))
    decoded = hashlib.sha256(info.pts.tobytes())
    for clip in clips:
        for number in range(len(clip)):
            decoded.update(np.ascontiguousarray(clip.picture(number)).tobytes())
    cropped = []
    for size, scale in ((240, 1.6), (96, 0.7), (48, 0.3)):
        angle = 0.15
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        centre = np.array([clips[0].size[1] / 2, clips[0].size[0] / 2])
        turn = np.array([[cosine, -sine], [sine, cosine]])
        transform = np.column_stack([turn, (size - 1) / 2 - turn @ centre]).astype(np.float32)
        cropped.append(crop_frames(clips[1], transform, size)[::4].ravel()[::EVERY_VALUE])
    config = CropConfig(
        detector=crop.detector, device=crop.device, faces="all", min_face=20, detect_size=200
    )
    middle = len(clips[0]) // 2
    faces = build_detector(config).detect(clips[0].view(middle))
    down, across = np.indices((240, 240))
    pattern = np.stack([down * across // 7, down * down // 9, down + 2 * across], axis=-1) % 256
    bands = coefficients(pattern.astype(np.uint8)).reshape(-1)[::EVERY]
    return Outputs(
        decoded.hexdigest(),
        np.concatenate(cropped),
        faces.box,
        faces.landmark,
        faces.prob,
        bands,
    )


def _near(one: NDArray, other: NDArray, most: float) -> bool:
    return one.shape == other.shape and bool((np.abs(one - other) <= most).all())


def _same_crops(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    if one.shape != other.shape:
        return False
    apart = np.abs(one.astype(np.int16) - other)
    return bool(apart.max() <= 1 and (apart > 0).mean() <= ODD_VALUES)


def _same_bands(one: NDArray[np.float16], other: NDArray[np.float16]) -> bool:
    size = np.maximum(np.maximum(np.abs(one), np.abs(other)), np.float16(SMALL_COEFFICIENT))
    step = np.spacing(size).astype(np.float64)
    return bool((np.abs(one.astype(np.float64) - other.astype(np.float64)) <= STEPS * step).all())


def _plain(value: str | NDArray) -> object:
    return value if isinstance(value, str) else value.tolist()


def _kept(detector: str, device: str) -> Path:
    """Where this machine's answer is kept; the name holds all that may change the answer."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    facts = [detector, device, REFERENCES, platform.python_version(), *_processor(device)]
    facts += [[name, *_installed(name)] for name in LIBRARIES]
    facts += sorted(
        f"{name}={value}" for name, value in os.environ.items() if name.startswith(SWITCHES)
    )
    facts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in _own_code()]
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    return Path(base) / "unmask" / "references" / f"{digest}.json"


def _recalled(path: Path) -> str | None:
    try:
        if os.lstat(path).st_uid != os.getuid():
            return None
        name = read_json(path, MAX_FILE, CacheError).get("reference")
    except (OSError, CacheError):
        return None
    return name if isinstance(name, str) and NAME.fullmatch(name) else None


def _processor(device: str) -> list[str]:
    """What the processor can do, and the graphics card where one is used."""
    facts = [platform.machine()]
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        facts += sorted(set(re.findall(r"^(?:model name|flags|Features)\s*:.*$", text, re.M)))
    if device == "cuda":
        import torch

        if torch.cuda.is_available():
            facts.append(torch.cuda.get_device_name())
    return facts


def _installed(name: str) -> list[object]:
    """Version of a library and when it was installed: another build may have the same version."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return []
    record = found.locate_file(f"{found.name.replace('-', '_')}-{found.version}.dist-info/RECORD")
    with contextlib.suppress(OSError):
        return [found.version, os.stat(str(record)).st_mtime_ns]
    return [found.version]


def _own_code() -> Iterator[Path]:
    """Our files that decide pixels, and the references."""
    pipeline = Path(__file__).parent.parent
    for folder in (pipeline / "decode", pipeline / "faces", FOLDER):
        yield from sorted(path for path in folder.iterdir() if path.is_file())
    yield from (pipeline / "cache" / "bands.py", pipeline / "config.py", Path(__file__))

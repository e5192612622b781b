"""What this machine makes of the probe: the same reference on every processor, thread count and
batch, another name as soon as decoding, cropping, detection or bands change.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unmask.pipeline.cache import bands
from unmask.pipeline.config import CropConfig, Limits, pixel_libraries
from unmask.pipeline.decode import clips
from unmask.pipeline.decode.frames import ArrayFrames
from unmask.pipeline.decode.scan import scan
from unmask.pipeline.extraction import one_video, reference
from unmask.pipeline.faces import crop, detector
from unmask.pipeline.records import Detections, Frames

FAST = CropConfig()

# Each switches one library to other code than it would choose here.
SWITCHES = {
    "two threads": {"OMP_NUM_THREADS": "2"},
    "torch without AVX": {"ATEN_CPU_CAPABILITY": "default"},
    "torch with AVX2 at most": {"ATEN_CPU_CAPABILITY": "avx2"},
    "oneDNN without AVX": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "OpenCV without AVX512": {"OPENCV_CPU_DISABLE": "AVX512-SKX,AVX512_SKX"},
    "OpenCV without AVX": {"OPENCV_CPU_DISABLE": "AVX2,AVX,FMA3,SSE4.2"},
}


def named_elsewhere(environment: dict[str, str], name: str = "fast") -> str:
    """The name that another process, with these switches, gives its machine."""
    code = (
        "from unmask.pipeline.config import CropConfig\n"
        "from unmask.pipeline.extraction.reference import judged, measure\n"
        f"print(*judged(measure(CropConfig(detector={name!r})), {name!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_this_machine_gives_the_reference_that_ships() -> None:
    assert reference.judged(reference.measure(FAST), "fast") == ("r1", [])


def test_all_switches_at_once_give_the_same_reference() -> None:
    every = {name: value for switch in SWITCHES.values() for name, value in switch.items()}
    assert named_elsewhere({**every, "ATEN_CPU_CAPABILITY": "default"}) == "r1 []"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast", "stock"])
@pytest.mark.parametrize("switch", SWITCHES)
def test_each_switch_gives_the_same_reference(switch: str, name: str) -> None:
    assert named_elsewhere(SWITCHES[switch], name) == "r1 []"


@pytest.mark.parametrize("batch", [2, 5])
def test_batches_of_any_size_stay_within_the_tolerance(batch: int) -> None:
    info = scan(reference.CLIP, Limits())
    (clip,) = clips.decode_clips(reference.CLIP, info, np.arange(5)[None])
    known = reference.read_reference("r1", "fast")
    config = replace(FAST, faces="all", min_face=20, detect_size=200)
    for found in detector.build_detector(config).detect_many([clip.view(2)] * batch):
        assert np.abs(found.box - known.box).max() <= reference.PIXELS / 10
        assert np.abs(found.landmark - known.landmark).max() <= reference.PIXELS / 10


def altered_decode(*arguments: object, **options: object) -> Iterator[Frames]:
    """One value of one pixel, one grey level brighter."""
    for clip in _decode_clips(*arguments, **options):
        pixels = np.stack([clip.picture(number) for number in range(len(clip))])
        pixels[0, 5, 7, 1] ^= 1
        yield ArrayFrames(pixels, clip.index, clip.pts)


def altered_crop(pixels: object, transform: np.ndarray, size: int) -> np.ndarray:
    """A tenth of a pixel to the right."""
    return _crop_clip(pixels, np.add(transform, [[0, 0, 0.1], [0, 0, 0]]), size)


def altered_detector(config: CropConfig) -> object:
    """Boxes a tenth of a pixel to the right."""

    class Shifted(detector.FastDetector):
        def detect(self, picture: object) -> Detections:
            found = super().detect(picture)
            return Detections(found.box + np.float32(0.1), found.landmark, found.prob)

    return Shifted(config)


def altered_bands(pixels: np.ndarray, definition: str = "area") -> np.ndarray:
    """Of pixels / 256 instead of 255."""
    return (_coefficients(pixels, definition).astype(np.float32) * (255 / 256)).astype(np.float16)


_decode_clips, _crop_clip, _coefficients = clips.decode_clips, crop.crop_clip, bands.coefficients
ALTERED = {
    "decode": (clips, "decode_clips", altered_decode),
    "crop": (crop, "crop_clip", altered_crop),
    "detect": (detector, "build_detector", altered_detector),
    "bands": (bands, "coefficients", altered_bands),
}


@pytest.mark.parametrize("stage", ALTERED)
def test_an_altered_stage_is_named_and_gets_a_key_of_its_own(
    stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*ALTERED[stage])
    outputs = reference.measure(FAST)
    name, differing = reference.judged(outputs, "fast")
    assert differing == [stage]
    assert reference.NAME.fullmatch(name) and name.startswith("x")
    assert name == reference.judged(reference.measure(FAST), "fast")[0]
    assert FAST.cache_key(name) != FAST.cache_key("r1") and f"-{name}-" in FAST.cache_key(name)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's cache folder of this test's own, and a process that has not asked yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    reference._reference.cache_clear()
    yield tmp_path
    reference._reference.cache_clear()


def refuse(*arguments: object) -> None:
    raise AssertionError("the probe ran again")


def test_the_answer_is_kept_for_the_machine_until_a_library_or_a_switch_changes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reference.reference_of(FAST) == "r1"
    (kept,) = home.rglob("*.json")
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    reference._reference.cache_clear()
    monkeypatch.setattr(reference, "measure", refuse)
    assert reference.reference_of(replace(FAST, clips=3)) == "r1"
    reference._reference.cache_clear()
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    with pytest.raises(AssertionError, match="probe ran again"):
        reference.reference_of(FAST)


@pytest.mark.parametrize("text", ['{"reference": "../../r1"}', "[", '{"reference": 1}', ""])
def test_a_forged_answer_is_asked_again(home: Path, text: str) -> None:
    kept = reference._kept("fast", "cpu")
    kept.parent.mkdir(parents=True)
    kept.write_text(text)
    assert reference.reference_of(FAST) == "r1"
    assert json.loads(kept.read_text()) == {"reference": "r1"}


def test_a_home_that_cannot_be_written_costs_a_probe_and_nothing_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "file"))
    assert reference.reference_of(FAST) == "r1"


def test_a_worker_takes_the_name_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "measure", refuse)
    monkeypatch.setattr(reference, "_recalled", refuse)
    reference._reference.cache_clear()
    given = one_video.settings_of_run(one_video.ExtractConfig(crop=FAST, reference="r1"))
    assert given == FAST.settings("r1")


def test_keys_of_before_there_were_references_stay_other_keys() -> None:
    before = {**FAST.settings(), "libraries": pixel_libraries()}
    assert CropConfig.differing(before, FAST.settings("r1")) == {
        "libraries": (pixel_libraries(), None),
        "reference": (None, "r1"),
    }
    assert FAST.cache_key("r1").startswith("16x5-240px-r1-")

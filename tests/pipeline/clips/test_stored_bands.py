"""The coefficients that extraction stored give the bands that the device would compute."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.tiny_cache import draw_video, write_one
from unmask.models import create_model
from unmask.models.layers.bands import Bands
from unmask.models.spec import ClipSpec
from unmask.pipeline.cache.bands import coefficients
from unmask.pipeline.clips.augment import AUGMENTS, build_augment, only_moves
from unmask.pipeline.clips.batches import RawBatch, batches
from unmask.pipeline.clips.hdf5_writer import write_export
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import CacheError, UsageError
from unmask.pipeline.evaluation.inference import Scoring
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.training.train import train

SIDE, CLIPS, FRAMES = 64, 4, 3
WAYS = ("cached", "computed")
IMAGES = ClipSpec("consecutive", FRAMES, size=48, bands="area")  # cut out of 64 px
NUMBERS = ClipSpec("consecutive", FRAMES, size=SIDE, fit="resize", bands="area", coefficients=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all.txt: two reals and two fakes with their bands; bare.txt: one more without."""
    root = tmp_path_factory.mktemp("bands")
    entries = []
    for number in range(4):
        pixels = draw_video(number, number % 2, CLIPS, FRAMES, SIDE)
        entries.append(
            write_one(
                root, f"v{number}", pixels, number % 2, bands=coefficients(pixels), method="drawn"
            )
        )
    write_manifest(root / "all.txt", entries)
    bare = write_one(root, "bare", draw_video(9, 1, CLIPS, FRAMES, SIDE), 1)
    write_manifest(root / "bare.txt", [*entries, bare])
    write_export(root / "all.h5", read_manifest(root / "all.txt", root))
    write_export(root / "without.h5", read_manifest(root / "all.txt", root), bands=False)
    return root


def float16_error(pixels: np.ndarray) -> float:
    """The most that rounding to float16 can move a pixel of a band: each of its coefficients by
    2^-11 of itself, times the largest value of its basis picture, 2 / S.
    """
    units = Bands(SIDE).coefficients(torch.from_numpy(pixels).movedim(-1, -3).float() / 255)
    return float(units.abs().sum(-1).max()) * 2**-11 * 2 / SIDE


def raw_of(source: ClipSource, seeds: bool, **options: bool) -> RawBatch:
    samples = source.evaluation_samples()
    if seeds:
        samples = [replace(sample, seed=number) for number, sample in enumerate(samples)]
    (raw,) = batches(source, [samples], **options)
    return replace(raw)


@pytest.mark.parametrize("manifest", ["all.txt", "all.h5"])
@pytest.mark.parametrize("spec", [IMAGES, NUMBERS], ids=["images", "coefficients"])
@pytest.mark.parametrize("names", [(), ("flip",), ("flip", "reverse")], ids="+".join)
def test_cached_bands_equal_computed_ones_within_the_step_of_float16(
    world: Path, manifest: str, spec: ClipSpec, names: tuple[str, ...]
) -> None:
    cached = ClipSource(world / manifest, world, spec)
    computed = ClipSource(world / manifest, world, spec, bands="computed")
    assert cached.stored_bands and not computed.stored_bands
    augment = build_augment(names, spec.size)
    raws = [raw_of(source, bool(names)) for source in (cached, computed)]
    assert raws[0].coefficients is not None and raws[1].coefficients is None
    assert (raws[0].pixels is None) == spec.coefficients  # a model on bands alone reads no pixels
    ours, theirs = (prepare(raw, spec, "cpu", augment) for raw in raws)
    assert ours.bands.shape == theirs.bands.shape
    if spec.coefficients:
        torch.testing.assert_close(ours.bands, theirs.bands, rtol=2**-10, atol=1e-4)
    else:
        most = float16_error(raws[1].pixels.numpy())
        assert most < 0.75 / 255  # less than a grey level
        torch.testing.assert_close(ours.bands, theirs.bands, rtol=0, atol=most)
        assert torch.equal(ours.pixels, theirs.pixels)
    assert not torch.equal(ours.bands, theirs.bands)  # they were read, not computed


def test_the_bands_are_what_the_cache_says(world: Path, tmp_path: Path) -> None:
    pixels = draw_video(0, 0, CLIPS, FRAMES, SIDE)
    other = coefficients(255 - pixels)
    write_manifest(tmp_path / "m.txt", [write_one(tmp_path, "other", pixels, 0, bands=other)])
    source = ClipSource(tmp_path / "m.txt", tmp_path, NUMBERS)
    (raw,) = batches(source, [source.evaluation_samples()])
    np.testing.assert_array_equal(raw.coefficients.numpy(), other)


@pytest.mark.parametrize("mode, frames", [("single", 1), ("sparse", 2), ("chained", 6)])
def test_every_mode_takes_the_bands_of_its_own_frames(world: Path, mode: str, frames: int) -> None:
    spec = ClipSpec(mode, frames, SIDE, fit="resize", bands="area", coefficients=True)
    source = ClipSource(world / "all.txt", world, spec)
    samples = source.evaluation_samples()
    (raw,) = batches(source, [samples])
    for sample, stored in zip(samples, raw.coefficients.numpy(), strict=True):
        whole = coefficients(draw_video(sample.video, sample.video % 2, CLIPS, FRAMES, SIDE))
        expected = np.stack([whole[clip, frame] for clip, frame in sample.picks])
        np.testing.assert_array_equal(stored, expected)


@pytest.mark.parametrize(
    "manifest, spec, why",
    [
        ("bare.txt", IMAGES, "1 of 5 videos have no bands"),
        ("without.h5", IMAGES, "4 of 4 videos have no bands"),
        ("all.txt", replace(IMAGES, bands="linear"), "stored are area"),
        ("all.txt", replace(IMAGES, bands=None), "takes no bands"),
        ("all.txt", replace(NUMBERS, size=48), "the crops have 64 px"),
    ],
)
def test_where_the_cache_cannot_serve_the_bands_are_computed_or_the_reason_is_told(
    world: Path, manifest: str, spec: ClipSpec, why: str
) -> None:
    source = ClipSource(world / manifest, world, spec)
    assert not source.stored_bands
    raw = raw_of(source, False)
    assert raw.coefficients is None and raw.pixels is not None
    with pytest.raises(CacheError, match=why):
        ClipSource(world / manifest, world, spec, bands="cached")


def test_pixels_that_will_be_changed_come_without_coefficients(world: Path) -> None:
    source = ClipSource(world / "all.txt", world, NUMBERS)
    raw = raw_of(source, False, as_stored=False)
    assert raw.coefficients is None and raw.pixels is not None


def test_only_flips_and_reversals_keep_the_pixels_values() -> None:
    assert {name for name in AUGMENTS if only_moves([name])} == {"none", "flip", "reverse"}
    assert only_moves([]) and not only_moves(["flip", "jpeg"])


def test_buffers_are_used_again_by_the_next_plan_of_the_same_kind(world: Path) -> None:
    source = ClipSource(world / "all.txt", world, IMAGES)
    plan = [[sample] for sample in source.evaluation_samples()]
    for options in ({}, {}, {"as_stored": False}):
        for raw in batches(source, plan, **options):
            assert (raw.coefficients is None) == bool(options)
            place = raw.pixels.data_ptr()
        held = {buffer.pixels.data_ptr() for buffer in source.idle_buffers}
        assert place in held
    assert Sample(0, plan[0][0].picks) == plan[0][0]


def run_of(world: Path, place: Path, **options: object) -> dict[str, object]:
    config = TrainConfig(
        manifest=str(world / "all.txt"),
        val=str(world / "all.txt"),
        cache=str(world),
        model="m2tr",
        options={"backbone": "test_efficientnet", "side": SIDE, "depth": 1},
        overrides={"batch": 4, "loss.seg": 0.0, **options.pop("overrides")},
        steps=1,
        from_scratch=True,
        device="cpu",
        tensorboard=False,
        **options,
    )
    train(config, run=place)
    return json.loads((place / "run.json").read_text())


def losses(place: Path) -> list[float]:
    lines = map(json.loads, (place / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line.get("loss") is not None]


def test_training_reads_them_while_pixels_are_only_flipped(world: Path, tmp_path: Path) -> None:
    flips = {"augment": ["flip"]}
    cached = run_of(world, tmp_path / "cached", overrides=flips)
    computed = run_of(world, tmp_path / "computed", overrides=flips, bands="computed")
    changed = run_of(world, tmp_path / "changed", overrides={"augment": ["noise"]})
    told = [[run[name]["bands"] for name in ("manifest", "val")] for run in (cached, computed)]
    assert told == [["cached", "cached"], ["computed", "computed"]]
    assert [changed[name]["bands"] for name in ("manifest", "val")] == ["computed", "cached"]
    first, second = losses(tmp_path / "cached"), losses(tmp_path / "computed")
    assert first == pytest.approx(second, abs=5e-3)
    with pytest.raises(UsageError, match="augmentation noise changes the pixels"):
        run_of(world, tmp_path / "no", overrides={"augment": ["noise"]}, bands="cached")


def inverted(clip: np.ndarray, sample: Sample, numbers: np.random.Generator) -> np.ndarray:
    return 255 - clip


def test_evaluation_scores_alike_from_the_cache_and_of_the_pixels(world: Path) -> None:
    torch.manual_seed(0)
    scoring = Scoring(create_model("dct_cnn", side=SIDE), "cpu", batch=3)
    spec = scoring.model.spec
    sources = [ClipSource(world / "all.txt", world, spec, bands=way) for way in WAYS]
    assert [source.stored_bands for source in sources] == [True, False]
    cached, computed = (scoring.score(source).scores.logit for source in sources)
    np.testing.assert_allclose(cached, computed, atol=2e-3)
    # Distorted pixels are not those the coefficients were taken of.
    cached, computed = (scoring.score(source, change=inverted).scores.logit for source in sources)
    np.testing.assert_array_equal(cached, computed)


def test_a_model_on_coefficients_alone_trains_without_a_pixel(world: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        manifest=str(world / "all.txt"),
        val=str(world / "all.txt"),
        cache=str(world),
        model="dct_cnn",
        options={"side": SIDE},
        overrides={"batch": 4},
        bands="cached",
        steps=2,
        device="cpu",
        tensorboard=False,
    )
    train(config, run=tmp_path / "run")
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [run[name]["bands"] for name in ("manifest", "val")] == ["cached", "cached"]
    assert all(np.isfinite(losses(tmp_path / "run"))) and len(losses(tmp_path / "run")) == 2

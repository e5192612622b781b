"""Clips: the bytes of the cache in the order of the plan, and the model's input made of them on
the device.
"""

import cv2
import numpy as np
import pytest
import torch
import zarr
from torchvision.transforms import v2

from tests.support.band_pictures import reconstruct
from tests.support.tiny_cache import KEY, make_cache, write_one
from unmask.models.spec import NORMS, ClipSpec
from unmask.pipeline.cache import bands as stored_bands
from unmask.pipeline.clips.batches import RawBatch, batches
from unmask.pipeline.clips.hdf5_writer import write_export
from unmask.pipeline.clips.plans import training_plan
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.clips.samples import Sample
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.errors import CacheError, ManifestError
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import Entry

SPEC = ClipSpec("consecutive", 3, size=32)
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("clips"))


def source(tiny, spec=SPEC, split="train", **options):
    return ClipSource(tiny[1] / f"{split}.txt", tiny[0], spec, **options)


def all_raw(found, plan, **options):
    return [
        (raw.samples, raw.pixels.clone(), raw.label.clone())
        for raw in batches(found, plan, **options)
    ]


def raw_batch(pixels, masks=None, seeds=None):
    count, frames = pixels.shape[:2]
    seeds = seeds or [None] * count
    samples = [Sample(i, tuple((0, t) for t in range(frames)), seeds[i]) for i in range(count)]
    masks = None if masks is None else torch.from_numpy(masks)
    return RawBatch(samples, torch.from_numpy(pixels), masks, torch.zeros(count, dtype=torch.int64))


@pytest.mark.parametrize(
    "spec", [SPEC, ClipSpec("sparse", 4, 32), ClipSpec("single", 1, 32), ClipSpec("chained", 6, 32)]
)
def test_samples_hold_the_pixels_that_zarr_reads(tiny, spec):
    found = source(tiny, spec)
    samples = found.evaluation_samples()
    (((got, pixels, label)),) = all_raw(found, [samples])
    assert got == samples
    for sample, clip, of in zip(samples, pixels.numpy(), label.tolist(), strict=True):
        whole = zarr.open_group(tiny[0] / found.entries[sample.video].folder, mode="r")["crops"][:]
        np.testing.assert_array_equal(clip, np.stack([whole[c, t] for c, t in sample.picks]))
        assert of == found.entries[sample.video].label


@pytest.mark.parametrize("threads, prefetch", [(1, 1), (3, 2), (2, 50)])
def test_order_and_bytes_do_not_depend_on_threads_or_buffers(tiny, threads, prefetch):
    found = source(tiny)
    plan = training_plan(
        SPEC, found.labels, found.pairs, found.shapes, batch=5, seed=1, epoch=0, balance="none"
    )
    expected, got = all_raw(found, plan), all_raw(found, plan, threads=threads, prefetch=prefetch)
    assert [samples for samples, _, _ in got] == plan
    assert all(torch.equal(a, b) for (_, a, _), (_, b, _) in zip(expected, got, strict=True))


def test_pairs_lead_from_each_fake_to_its_original(tiny):
    found = source(tiny)
    assert found.pairs == [
        None if label == 0 else place - 1 for place, label in enumerate(found.labels)
    ]


def test_evaluation_can_be_thinned_evenly(tiny):
    samples = source(tiny).evaluation_samples(per_video=2)
    assert [(s.video, s.picks[0][0]) for s in samples] == [
        (v, c) for v in range(12) for c in (0, 3)
    ]


def test_missing_videos_are_refused_with_counts_or_left_out(tiny, tmp_path):
    entries = [*read_manifest(tiny[1] / "val.txt", tiny[0]).entries, Entry(f"tiny/{KEY}/gone", 1)]
    write_manifest(tmp_path / "m.txt", entries)
    with pytest.raises(ManifestError, match=r"1 of 7 folders.*--allow-missing"):
        ClipSource(tmp_path / "m.txt", tiny[0], SPEC)
    found = ClipSource(tmp_path / "m.txt", tiny[0], SPEC, allow_missing=True)
    assert len(found) == 6 and [entry.folder for entry in found.missing] == [f"tiny/{KEY}/gone"]


def test_a_damaged_video_names_its_folder_and_ends_the_reading(tmp_path):
    cache, manifests = make_cache(tmp_path, {"train": 2})
    shard = next(
        path
        for path in (cache / "tiny" / KEY / "f001" / "crops").rglob("*")
        if path.name != "zarr.json"
    )
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 4
    shard.write_bytes(data)
    found = ClipSource(manifests / "train.txt", cache, SPEC)
    with pytest.raises(CacheError, match="f001"):
        all_raw(found, [found.evaluation_samples()])
    shard.write_bytes(data[:-9])
    with pytest.raises(CacheError, match="f001"):
        ClipSource(manifests / "train.txt", cache, SPEC)


def test_clips_of_unequal_shape_are_refused(tmp_path):
    cache, manifests = make_cache(tmp_path, {"train": 1})
    other = write_one(cache, "odd", np.zeros((2, 3, 16, 16, 3), np.uint8), 0)
    write_manifest(
        manifests / "mixed.txt", [*read_manifest(manifests / "train.txt", cache).entries, other]
    )
    with pytest.raises(CacheError, match=r"odd has clips of \(3, 16, 16, 3\)"):
        ClipSource(manifests / "mixed.txt", cache, SPEC)


def test_folders_of_pictures_are_read_in_numeric_order(tmp_path):
    pictures = RNG.integers(0, 256, (30, 240, 240, 3), np.uint8)
    for folder, label in (("a", 0), ("b b", 1)):
        (tmp_path / folder).mkdir()
        for number, picture in enumerate(pictures if label else pictures[::-1]):
            cv2.imwrite(str(tmp_path / folder / f"{number + 1}.png"), picture[..., ::-1])
    (tmp_path / "list.txt").write_text("a 0\nb b 1\n")
    found = ClipSource(tmp_path / "list.txt", tmp_path / "no-cache", ClipSpec("chained", 30, 240))
    ((_, pixels, label),) = all_raw(found, [found.evaluation_samples()])
    np.testing.assert_array_equal(pixels[1].numpy(), pictures)
    np.testing.assert_array_equal(pixels[0].numpy(), pictures[::-1])
    assert label.tolist() == [0, 1]


def test_an_unreadable_picture_names_itself(tmp_path):
    (tmp_path / "a").mkdir()
    for number in range(5):
        (tmp_path / "a" / f"{number}.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (tmp_path / "list.txt").write_text("a 0\n")
    found = ClipSource(tmp_path / "list.txt", tmp_path, ClipSpec("single", 1, 240))
    with pytest.raises(CacheError, match=r"\.jpg: not a readable picture"):
        all_raw(found, [found.evaluation_samples()])


def test_an_exported_file_gives_the_same_samples_in_the_same_order(tiny, tmp_path):
    plain = source(tiny)
    write_export(tmp_path / "train.h5", read_manifest(tiny[1] / "train.txt", tiny[0]))
    exported = ClipSource(tmp_path / "train.h5", tmp_path / "no-cache", SPEC)
    assert (exported.sha256, exported.key, exported.pairs) == (plain.sha256, plain.key, plain.pairs)
    arguments = {"batch": 4, "seed": 5, "epoch": 2}
    plans = [
        training_plan(SPEC, s.labels, s.pairs, s.shapes, **arguments) for s in (plain, exported)
    ]
    assert plans[0] == plans[1]
    for (_, a, la), (_, b, lb) in zip(
        all_raw(plain, plans[0]), all_raw(exported, plans[1]), strict=True
    ):
        assert torch.equal(a, b) and torch.equal(la, lb)


@pytest.mark.parametrize("norm", ["unit", "half", "imagenet"])
def test_normalisation_is_torchvisions(norm):
    pixels = RNG.integers(0, 256, (2, 3, 32, 32, 3), np.uint8)
    got = prepare(raw_batch(pixels), ClipSpec("consecutive", 3, 32, norm=norm), "cpu").pixels
    mean, std = NORMS[norm]
    unit = v2.functional.to_dtype(
        torch.from_numpy(pixels).permute(0, 1, 4, 2, 3), torch.float32, scale=True
    )
    torch.testing.assert_close(got, v2.functional.normalize(unit, list(mean), list(std)))


def test_raw255_leaves_grey_levels_as_they_are():
    pixels = RNG.integers(0, 256, (1, 3, 32, 32, 3), np.uint8)
    got = prepare(raw_batch(pixels), ClipSpec("consecutive", 3, 32, norm="raw255"), "cpu").pixels
    torch.testing.assert_close(got, torch.from_numpy(pixels).permute(0, 1, 4, 2, 3).float())


def test_evaluation_crops_the_centre_and_training_somewhere_by_its_seed():
    pixels = RNG.integers(0, 256, (4, 1, 40, 40, 3), np.uint8)
    spec = ClipSpec("single", 1, 32)
    whole = torch.from_numpy(pixels).permute(0, 1, 4, 2, 3).float() / 255
    torch.testing.assert_close(
        prepare(raw_batch(pixels), spec, "cpu").pixels, whole[..., 4:36, 4:36]
    )
    seeded = [prepare(raw_batch(pixels, seeds=[1, 2, 3, 4]), spec, "cpu").pixels for _ in range(2)]
    assert torch.equal(*seeded)
    places = [
        {
            (y, x)
            for y in range(9)
            for x in range(9)
            if torch.equal(seeded[0][i], whole[i, ..., y : y + 32, x : x + 32])
        }
        for i in range(4)
    ]
    assert all(len(place) == 1 for place in places) and len(set.union(*places)) > 1


def test_a_crop_larger_than_the_cache_is_refused():
    with pytest.raises(CacheError, match="crops 48 px out of crops of 32 px"):
        prepare(raw_batch(np.zeros((1, 1, 32, 32, 3), np.uint8)), ClipSpec("single", 1, 48), "cpu")


def test_resizing_is_torchvisions_antialiased_bilinear():
    pixels = RNG.integers(0, 256, (1, 2, 48, 48, 3), np.uint8)
    got = prepare(raw_batch(pixels), ClipSpec("consecutive", 2, 32, fit="resize"), "cpu").pixels
    unit = torch.from_numpy(pixels).permute(0, 1, 4, 2, 3).float() / 255
    torch.testing.assert_close(got[0], v2.functional.resize(unit[0], [32, 32], antialias=True))


def test_bands_are_those_of_the_stored_coefficients_cut_like_the_pixels():
    pixels = RNG.integers(0, 256, (2, 1, 48, 48, 3), np.uint8)
    batch = prepare(raw_batch(pixels), ClipSpec("single", 1, 32, bands="area"), "cpu")
    parts = reconstruct(stored_bands.coefficients(pixels, "area"), pixels, "area")
    expected = np.concatenate([np.moveaxis(part, -1, -3) / 255 for part in parts], axis=-3)[
        ..., 8:40, 8:40
    ]
    np.testing.assert_allclose(batch.bands.numpy(), expected, atol=2e-3)
    low, mid, high = batch.bands.split(3, dim=2)
    torch.testing.assert_close(low + mid + high, batch.pixels, atol=1e-5, rtol=0)


def test_masks_are_cut_like_the_pixels_and_zero_for_reals(tmp_path):
    cache, manifests = make_cache(tmp_path, {"train": 1}, clips=2)
    masks = np.zeros((2, 3, 32, 32), np.uint8)
    masks[:, :, 10:20, 5:9] = 255
    pixels = np.repeat(masks[..., None], 3, axis=-1)
    entries = [write_one(cache, "real", pixels, 0), write_one(cache, "fake", pixels, 1, masks)]
    write_manifest(manifests / "masked.txt", entries)
    spec = ClipSpec("consecutive", 3, 24, masks=True)
    found = ClipSource(manifests / "masked.txt", cache, spec)
    samples = [Sample(s.video, s.picks, seed) for seed, s in enumerate(found.evaluation_samples())]
    batch = prepare(next(batches(found, [samples])), spec, "cpu")
    assert batch.masks.shape == (4, 3, 1, 24, 24)
    assert not batch.masks[batch.label == 0].any()
    assert torch.equal(batch.masks[batch.label == 1], batch.pixels[batch.label == 1][:, :, :1])


def test_a_loss_with_masks_needs_a_cache_with_masks(tiny):
    with pytest.raises(CacheError, match="extract with --masks"):
        source(tiny, ClipSpec("consecutive", 3, 32, masks=True))

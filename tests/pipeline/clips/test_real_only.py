"""Training from real footage only: no fake is looked at, pairs stay together, and both halves go
the same way, to the last bit.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.tiny_cache import KEY, draw_video, make_cache, write_one
from unmask.models import list_models, model_class
from unmask.models.options import ModelError
from unmask.models.recipes.blends import BlendSpec
from unmask.models.recipes.recipes import get_recipe, list_recipes
from unmask.models.spec import ClipSpec
from unmask.pipeline.clips import augment, real_only
from unmask.pipeline.clips.batches import batches
from unmask.pipeline.clips.hdf5_writer import write_export
from unmask.pipeline.clips.plans import share, training_plan
from unmask.pipeline.clips.prepare import prepare, random_of
from unmask.pipeline.clips.real_only import RealOnly, places_of
from unmask.pipeline.clips.self_blend import self_blend
from unmask.pipeline.errors import CacheError, ManifestError, UsageError
from unmask.pipeline.faces.crop import align_transform
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import FAKE, REAL

SPEC = ClipSpec("consecutive", 3, size=64)
MODES = [
    SPEC,
    ClipSpec("sparse", 4, 64),
    ClipSpec("chained", 6, 64),
    ClipSpec("single", 1, 64),
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("real_only"), {"train": 5, "val": 2}, side=64)


def source(tiny, spec=SPEC, split="train", blend=None, **options):
    return RealOnly(tiny[1] / f"{split}.txt", tiny[0], spec, blend or BlendSpec(), **options)


def plan_of(found, batch=4, epoch=0, **options):
    return training_plan(
        found.spec,
        found.labels,
        found.pairs,
        found.shapes,
        batch=batch,
        seed=3,
        epoch=epoch,
        balance="self",
        truth=found.truth,
        **options,
    )


def all_raw(found, plan, **options):
    return [
        (raw.pixels.clone(), None if raw.masks is None else raw.masks.clone(), raw.label.clone())
        for raw in batches(found, plan, **options)
    ]


def same(one, other):
    return all(
        (a is None and b is None) or torch.equal(a, b)
        for batch, again in zip(one, other, strict=True)
        for a, b in zip(batch, again, strict=True)
    )


def test_no_fake_entry_is_ever_looked_at(tiny, tmp_path):
    cache = tmp_path / "cache"
    real = write_one(cache, "real", draw_video(1, REAL, side=64), REAL)
    fake = write_one(cache, "fake", draw_video(1, FAKE, side=64), FAKE)
    for name in ("zarr.json", "digest.json", "crops/zarr.json"):
        (cache / fake.folder / name).write_bytes(b"\xff not a video")
    entries = [real, fake, replace(fake, folder=f"tiny/{KEY}/not-there")]
    write_manifest(tmp_path / "m.txt", entries)
    found = RealOnly(tmp_path / "m.txt", cache, SPEC, BlendSpec())
    assert found.left_out == 2 and len(found) == 2
    assert any("2 fake videos are left out" in line for line in found.warnings)
    facts = found.facts()
    assert (facts["videos"], facts["real"], facts["fake"], facts["left_out"]) == (1, 1, 0, 2)
    assert facts["fakes"] == "self" and facts["blend"]["version"] >= 1
    assert len(all_raw(found, plan_of(found))) == 1


@pytest.mark.parametrize("margin, said", [(1.1, True), (1.3, False), (1.8, False), (None, False)])
def test_crops_too_narrow_for_the_outline_of_a_face_are_said(tmp_path, margin, said):
    settings = {"settings": {"margin": margin}} if margin else {}
    real = write_one(tmp_path, "real", draw_video(1, REAL, side=64), REAL, **settings)
    write_manifest(tmp_path / "m.txt", [real])
    found = RealOnly(tmp_path / "m.txt", tmp_path, SPEC, BlendSpec())
    assert any("crops of margin 1.1 end where" in line for line in found.warnings) == said


def test_a_manifest_without_reals_is_refused(tiny, tmp_path):
    fake = write_one(tmp_path / "cache", "fake", draw_video(1, FAKE), FAKE)
    write_manifest(tmp_path / "m.txt", [fake])
    with pytest.raises(ManifestError, match="none of its 1 entries has label 0"):
        RealOnly(tmp_path / "m.txt", tmp_path / "cache", SPEC, BlendSpec())
    with pytest.raises(UsageError, match="kinds"):
        source(tiny, blend=BlendSpec(kinds=()))


def test_an_export_gives_the_same_bytes(tiny, tmp_path):
    write_export(tmp_path / "train.h5", read_manifest(tiny[1] / "train.txt", tiny[0]))
    exported = RealOnly(tmp_path / "train.h5", tmp_path / "no-cache", SPEC, BlendSpec())
    plain = source(tiny)
    assert exported.left_out == plain.left_out == 5
    plan = plan_of(plain)
    assert plan_of(exported) == plan and same(all_raw(plain, plan), all_raw(exported, plan))


def test_an_export_without_reals_is_refused(tmp_path):
    fake = write_one(tmp_path / "cache", "fake", draw_video(1, FAKE), FAKE)
    write_manifest(tmp_path / "m.txt", [fake])
    write_export(tmp_path / "m.h5", read_manifest(tmp_path / "m.txt", tmp_path / "cache"))
    with pytest.raises(CacheError, match="none of its 1 videos has label 0"):
        RealOnly(tmp_path / "m.h5", tmp_path, SPEC, BlendSpec())


@pytest.mark.parametrize("spec", MODES, ids=lambda spec: spec.mode)
@pytest.mark.parametrize("all_clips", [False, True])
def test_every_real_comes_once_beside_its_own_fake(tiny, spec, all_clips):
    found = source(tiny, spec)
    plan = plan_of(found, all_clips=all_clips)
    seen = Counter()
    for batch in plan:
        assert len(batch) % 2 == 0
        for real, fake in zip(batch[::2], batch[1::2], strict=True):
            assert (real.video % 2, fake.video) == (0, real.video + 1)
            assert (real.picks, real.seed) == (fake.picks, fake.seed) and real.seed is not None
            seen[real.video] += 1
    assert set(seen) == {0, 2, 4, 6, 8} and len(set(seen.values())) == 1
    assert plan_of(found, all_clips=all_clips) == plan != plan_of(found, epoch=1)


@pytest.mark.parametrize("world, accumulate", [(1, 1), (1, 2), (2, 1), (1, 3), (3, 1)])
def test_a_pair_is_in_one_micro_batch_of_one_process(tiny, world, accumulate):
    batch = plan_of(source(tiny), batch=10)[0]
    parts = [
        part for rank in range(world) for part in share(batch, rank, world, accumulate, together=2)
    ]
    assert [sample for part in parts for sample in part] == batch
    assert all(len(part) % 2 == 0 and part[0].video % 2 == 0 for part in parts)
    assert np.ptp([len(part) for part in parts]) <= 2
    with pytest.raises(UsageError, match=r"10 samples \(5 pairs\)"):
        share(batch, 0, 3, 2, together=2)


@pytest.mark.parametrize("spec", MODES, ids=lambda spec: spec.mode)
def test_rows_are_what_self_blend_gives_of_the_cached_frames(tiny, spec):
    found = source(tiny, replace(spec, masks=True))
    plan = plan_of(found)
    for batch, (pixels, masks, label) in zip(plan, all_raw(found, plan), strict=True):
        assert label.tolist() == [REAL, FAKE] * (len(batch) // 2)
        for row in range(0, len(batch), 2):
            sample = batch[row]
            crops = found.readers[sample.video].read_crops()
            frames = np.stack([crops[clip, frame] for clip, frame in sample.picks])
            boxes, points = places_of(found.readers[sample.video].attributes, len(crops))
            clips = sorted({clip for clip, _ in sample.picks})
            real, fake, mask = self_blend(
                frames.transpose(0, 3, 1, 2),
                boxes[clips],
                points[clips],
                np.random.default_rng([sample.seed, 1]),
                BlendSpec(),
                np.array([clips.index(clip) for clip, _ in sample.picks]),
            )
            np.testing.assert_array_equal(pixels[row].numpy(), real.transpose(0, 2, 3, 1))
            np.testing.assert_array_equal(pixels[row + 1].numpy(), fake.transpose(0, 2, 3, 1))
            np.testing.assert_array_equal(masks[row + 1].numpy(), mask[:, 0])
            assert not masks[row].any()


@pytest.mark.parametrize("spec", MODES, ids=lambda spec: spec.mode)
def test_bytes_do_not_depend_on_threads_batch_size_or_where_a_run_goes_on(tiny, spec):
    found = source(tiny, replace(spec, masks=True))
    plan = plan_of(found, batch=10)
    once = all_raw(found, plan, threads=1)
    for threads, prefetch in ((2, 1), (3, 4), (2, 50)):
        assert same(all_raw(found, plan, threads=threads, prefetch=prefetch), once)
    flat = [sample for batch in plan for sample in batch]
    # one sample at a time, so that no half has the other beside it; and from the middle
    pixels, masks, _ = (torch.cat(parts) for parts in zip(*once, strict=True))
    alone = all_raw(found, [[sample] for sample in flat])
    assert torch.equal(torch.cat([p for p, _, _ in alone]), pixels)
    assert torch.equal(torch.cat([m for _, m, _ in alone]), masks)
    late = all_raw(found, [flat[3:]])
    assert torch.equal(late[0][0], pixels[3:]) and torch.equal(late[0][1], masks[3:])


def test_validation_shows_every_sample_of_a_real_and_its_fake_from_fixed_seeds(tiny):
    found = source(tiny, split="val")
    samples = found.evaluation_samples()
    assert len(samples) == 2 * 2 * 4 and {sample.seed for sample in samples} == {None}
    labels = [found.label_of(sample) for sample in samples]
    assert labels.count(FAKE) == len(labels) / 2
    assert same(all_raw(found, [samples]), all_raw(source(tiny, split="val"), [samples]))
    pixels = all_raw(found, [samples])[0][0]
    place = {(s.video, s.picks): row for row, s in enumerate(samples)}
    for (video, picks), row in place.items():
        if video % 2 == 0:
            assert (pixels[row] != pixels[place[video + 1, picks]]).any()


def test_box_and_landmarks_are_moved_into_the_crop_that_stands_upright():
    points = np.array([(310, 190), (360, 215), (325, 225), (300, 240), (345, 262.0)])
    box = np.array([270, 150, 390, 310.0])
    matrix = align_transform(box, points, 240, 1.3)
    attributes = {"box": [box.tolist()], "landmark": [points.tolist()], "transform": [matrix]}
    found, moved = places_of(attributes, 1)
    side = 240 / 1.3
    half = np.array([side * 120 / 160, side]) / 2
    np.testing.assert_allclose(found[0], np.concatenate([119.5 - half, 119.5 + half]), atol=1e-3)
    np.testing.assert_allclose(moved[0], points @ matrix[:, :2].T + matrix[:, 2])
    assert abs(moved[0, 0, 1] - moved[0, 1, 1]) < 10  # 25 px per 50 in the frame
    for broken in ({}, {**attributes, "box": [[1, 2]]}, {**attributes, "landmark": "none"}):
        assert places_of(broken, 1) == (None, None)


@pytest.mark.parametrize("mask", ["hard", "soft", "edge"])
def test_the_mask_a_head_learns_is_hard_soft_or_the_seam(tiny, mask):
    spec = replace(SPEC, masks=True, soft_masks=mask != "hard")
    plans = [plan_of(source(tiny, spec))] * 2
    found = source(tiny, spec, blend=BlendSpec(mask=mask))
    soft = source(tiny, spec, blend=BlendSpec(mask="soft"))
    raw = next(batches(found, plans[0]))
    got = prepare(raw, spec, "cpu").masks
    m = next(batches(soft, plans[1])).masks.unsqueeze(2).float() / 255
    expected = {"hard": (m > 0.5).float(), "soft": m, "edge": 4 * m * (1 - m)}[mask]
    assert not got[0::2].any() and got[1::2].any()
    assert torch.allclose(got, expected, atol=0.5 / 255 + 1e-6)


# -- the augmentation of real_only recipes


CLIP = torch.from_numpy(draw_video(3, REAL, 1, 2, side=96)[0]).permute(0, 3, 1, 2)


def probe(monkeypatch):
    """Record what the codecs are asked for instead of running them."""
    asked = []

    def jpeg(clip, quality):
        asked.append(("jpeg", quality))
        return clip

    def codec(frames, crf):
        asked.append(("crf", crf))
        return frames

    monkeypatch.setattr(augment.tv, "jpeg", jpeg)
    monkeypatch.setattr(augment, "h264", codec)
    return asked


def every_real_only_recipe():
    return {model: get_recipe(model, "real_only") for model in list_models()}


def test_every_model_has_a_recipe_that_reads_no_fakes():
    for model, recipe in every_real_only_recipe().items():
        assert "real_only" in list_recipes(model) and list_recipes(model)[0] != "real_only"
        assert recipe.balance == "self" and recipe.batch >= 2 and recipe.val_fakes == "self"
        assert recipe.augment == ("self_blend",), "it must look at no pixel"
        assert model_class(model)
    assert get_recipe("m2tr", "real_only").loss.seg > 0
    changed = get_recipe("clrnet", "real_only", {"blend.kinds": ["oval"], "blend.follow": "none"})
    assert changed.blend == BlendSpec(kinds=("oval",), follow="none")
    with pytest.raises(ModelError, match="blend"):
        get_recipe("clrnet", "real_only", {"blend.follow": "glue"})


def test_both_halves_are_augmented_alike_to_the_last_bit_outside_the_mask(tiny, monkeypatch):
    probe(monkeypatch)
    for spec in (SPEC, replace(SPEC, size=48), replace(SPEC, size=48, fit="resize")):
        spec = replace(spec, masks=True, soft_masks=True)
        found = source(tiny, spec, blend=BlendSpec(mask="soft"))
        change = augment.build_augment(("self_blend",), spec.size)
        for epoch in range(12):
            for raw in batches(found, plan_of(found, epoch=epoch)):
                # one more pixel all around: resizing mixes neighbours
                wide = torch.nn.functional.max_pool2d(
                    (raw.masks > 0).float(), 5, stride=1, padding=2
                )
                raw.masks.copy_((wide * 255).to(torch.uint8))
                data = prepare(raw, spec, "cpu", change)
                real, fake = data.pixels[0::2], data.pixels[1::2]
                outside = (data.masks[1::2] == 0).expand_as(real)
                assert torch.equal(real[outside], fake[outside])
                assert outside.float().mean() > 0.02 and not torch.equal(real, fake)


def test_two_thousand_pairs_share_quality_scale_and_flip(monkeypatch):
    asked, sides = probe(monkeypatch), []
    cut = augment._cut

    def seen(images, box, size, smooth=True):
        sides.append(box)
        return cut(images, box, size, smooth)

    monkeypatch.setattr(augment, "_cut", seen)
    change = augment.build_augment(("self_blend",), 16)
    grey, ramp = torch.full((1, 3, 16, 16), 90, dtype=torch.uint8), torch.arange(16).byte()
    histograms = {0: Counter(), 1: Counter()}
    for seed in range(2000):
        halves = []
        for half in (0, 1):
            asked.clear()
            sides.clear()
            # the fake's pixels are others, so that a draw which looked at pixels would differ
            pixels, masks = grey + 60 * half, ramp.expand(1, 1, 16, 16) * 10
            _, shown = change(pixels, masks, np.random.default_rng(seed))
            flipped = bool(shown[0, 0, 8, 0] > shown[0, 0, 8, -1])
            halves.append((tuple(asked), tuple(sides), flipped))
            histograms[half][halves[-1]] += 1
        assert halves[0] == halves[1]
    assert histograms[0] == histograms[1]
    qualities = {q for (asked, _, _) in histograms[0] for kind, q in asked if kind == "jpeg"}
    crfs = {q for (asked, _, _) in histograms[0] for kind, q in asked if kind == "crf"}
    assert qualities == set(range(40, 101)) and crfs == set(range(18, 41))


def test_compression_comes_last_and_for_real():
    change = augment.build_augment(("self_blend",), 96)
    changed = [change(CLIP, None, np.random.default_rng(seed))[0] for seed in range(12)]
    assert all(clip.shape == CLIP.shape and clip.dtype == torch.uint8 for clip in changed)
    assert augment.AUGMENTS["self_blend"][-2] is augment.video_codec


def test_the_paste_draws_nothing_that_both_halves_share(tiny, monkeypatch):
    """With pasting switched off the real half and the augmentation of both are what they were."""
    found, plain = source(tiny), source(tiny, blend=BlendSpec(affine=False, elastic=False))
    plan = plan_of(found)
    for (one, _, _), (other, _, _) in zip(all_raw(found, plan), all_raw(plain, plan), strict=True):
        assert torch.equal(one[0::2], other[0::2])
    sample = plan[0][0]
    monkeypatch.setattr(real_only, "self_blend", None)
    assert random_of(sample).random() == np.random.default_rng(sample.seed).random()

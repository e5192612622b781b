"""Perceptual distances, on drawn weights: what must hold for any, and the formula written out."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest
import torch

from unmask.models.weights import WeightsError
from unmask.pipeline.errors import UsageError
from unmask.pipeline.quality.networks import KINDS, open_network
from unmask.pipeline.quality.perceptual import perceptual_distance

QUICK = ("lpips-squeeze@random:1",)
NAMES = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in (f"{kind}@random:1" for kind in KINDS)
]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    coarse = np.random.default_rng(0).uniform(0, 255, (64, 64, 3))
    return cv2.GaussianBlur(coarse, (0, 0), 1.0).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_a_distance_is_nothing_for_equals_symmetric_and_grows(name, picture) -> None:
    network, rng = open_network(name), np.random.default_rng(1)
    noise = rng.normal(0, 1, picture.shape)
    worse = [
        np.stack([cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (0.5, 1, 2, 4)]),
        np.stack([(picture + noise * s).clip(0, 255).astype(np.uint8) for s in (4, 12, 36, 90)]),
    ]
    face = np.ones((4, 64, 64), bool)
    true = np.stack([picture] * 4)
    assert perceptual_distance(network, true, true, face).crop.tolist() == [0.0] * 4
    for row in worse:
        there = perceptual_distance(network, true, row, face)
        back = perceptual_distance(network, row, true, face)
        assert (np.diff(there.crop) > 0).all() and there.crop[0] > 0
        np.testing.assert_allclose(there.crop, back.crop, rtol=1e-5)
        np.testing.assert_allclose(there.crop, there.masked, rtol=1e-4)  # the mask is everything
    one = perceptual_distance(network, true[2:3], row[2:3], face[2:3])
    np.testing.assert_allclose(one.crop[0], there.crop[2], rtol=1e-4)  # batch or loop


def test_what_lies_far_outside_the_mask_changes_the_masked_distance_by_nothing(picture) -> None:
    network = open_network("lpips-squeeze@random:2")
    true = np.kron(picture, np.ones((4, 4, 1), np.uint8))[None]  # 256 px
    fake, farther = true.copy(), true.copy()
    fake[:, :32, :32] //= 2
    farther[:, :32, :32] //= 2
    farther[:, 250:, 250:] = 0
    mask = np.zeros(true.shape[:3], bool)
    mask[:, :32, :32] = True
    near, far = (perceptual_distance(network, true, one, mask) for one in (fake, farther))
    assert near.masked == pytest.approx(far.masked, rel=1e-5) and near.crop[0] < far.crop[0]
    empty = perceptual_distance(network, true, fake, mask & False)
    assert np.isnan(empty.masked[0])


def test_lpips_is_the_formula_of_the_paper(picture) -> None:
    network = open_network("lpips-squeeze@random:3")
    pair = np.stack([picture, picture[::-1]])
    depths = network.stages(torch.from_numpy(pair))
    known = 0.0
    for answer, weight in zip(depths, network.head, strict=True):
        a, b = answer.double().numpy()  # (C, h, w)
        a, b = (one / np.sqrt((one**2).sum(0) + 1e-20) for one in (a, b))
        known += (weight.numpy()[:, None, None] * (a - b) ** 2).sum(0).mean()
    found = perceptual_distance(network, pair[:1], pair[1:], np.ones((1, 64, 64), bool))
    assert found.crop[0] == pytest.approx(known, rel=1e-4)
    assert len(depths) == 7 and depths[0].shape[1] == 64 and depths[-1].shape[1] == 512


def test_a_network_without_its_weights_names_the_file_and_its_place(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=r"models/resnet18-f37072fd.pth at weights/resnet18"):
        open_network("resnet18")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "resnet18-f37072fd.pth").write_bytes(b"another file")
    with pytest.raises(WeightsError, match="sha256 does not begin with f37072fd"):
        open_network("resnet18")
    with pytest.raises(UsageError, match="none of the networks lpips-alex"):
        open_network("inception")


def test_weights_that_a_user_put_there_are_taken(tmp_path, monkeypatch) -> None:
    """A file whose sha256 begins as its name says, and heads whose sha256 is known."""
    from dataclasses import replace

    monkeypatch.chdir(tmp_path)
    drawn = open_network("lpips-squeeze@random:5")
    (tmp_path / "weights").mkdir()
    torch.save(drawn.model.state_dict(), tmp_path / "backbone.pth")
    heads = {f"lin{n}.model.1.weight": h.reshape(1, -1, 1, 1) for n, h in enumerate(drawn.head)}
    torch.save(heads, tmp_path / "weights" / "lpips-squeeze.pth")
    sums = [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "backbone.pth", tmp_path / "weights" / "lpips-squeeze.pth")
    ]
    file = f"squeezenet1_1-{sums[0][:8]}.pth"
    (tmp_path / "backbone.pth").rename(tmp_path / "weights" / file)
    kind = replace(KINDS["lpips-squeeze"], file=file, head_sha256=sums[1])
    monkeypatch.setitem(KINDS, "lpips-squeeze", kind)
    found = open_network("lpips-squeeze")
    assert found.fingerprint == drawn.fingerprint
    assert all(torch.equal(a, b) for a, b in zip(found.head, drawn.head, strict=True))
    (tmp_path / "weights" / "lpips-squeeze.pth").write_bytes(b"other")
    with pytest.raises(WeightsError, match=r"not the weights of LPIPS 0\.1"):
        open_network("lpips-squeeze")

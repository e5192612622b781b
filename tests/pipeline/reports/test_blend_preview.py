"""The picture of what a training on real footage shows: its own pairs, and a mask where they
differ.
"""

import cv2
import numpy as np
import pytest

from tests.support.tiny_cache import make_cache
from unmask.commands.main import main
from unmask.pipeline.reports.blend_preview import GAP, HEAD

SIDE = 64


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("preview"), {"train": 3}, side=SIDE)


def preview(tiny, out, *words):
    manifest, cache = str(tiny[1] / "train.txt"), str(tiny[0])
    size = ("--option", "width=8", "--option", "frames=3", "--option", f"size={SIDE}")
    place = ("--cache", cache, "--out", str(out))
    return main(["manifest", "preview", manifest, *place, *size, *words])


def tiles(path):
    """(rows, 2 pairs, 3 tiles, S, S, 3) RGB."""
    picture = cv2.imread(str(path))[HEAD:, :, ::-1]
    step = SIDE + GAP
    cut = picture.reshape(len(picture) // step, step, 2, 3, step, 3)  # rows of both pairs' tiles
    return cut.transpose(0, 2, 3, 1, 4, 5)[:, :, :, :SIDE, :SIDE]


def test_halves_differ_under_the_mask_and_nowhere_else(tiny, tmp_path, capsys):
    out = tmp_path / "p.png"
    assert preview(tiny, out, "--set", "augment=flip", "--set", "blend.mask=soft") == 0
    said = capsys.readouterr()
    assert "up to 12 of 3 real videos" in said.out and "3 fake videos are left out" in said.err
    shown = tiles(out)
    assert shown.shape[:3] == (2, 2, 3)
    pairs = shown.reshape(4, 3, SIDE, SIDE, 3)
    for real, fake, mask in pairs[:3]:
        # one level more: the picture is of the numbers the network gets
        assert np.abs(real.astype(int) - fake)[mask == 0].max() <= 1
        assert (mask > 0).any() and (mask[..., 0] == mask[..., 1]).all()
    assert (pairs[3] == 255).all(), "the fourth place of three pairs stays white"


def test_the_same_seed_draws_the_same_picture_and_another_another(tiny, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert preview(tiny, tmp_path / name, "--seed", seed, "--pairs", "2") == 0
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


def test_a_recipe_that_takes_its_fakes_from_the_manifest_has_nothing_to_preview(
    tiny, tmp_path, capsys
):
    assert preview(tiny, tmp_path / "p.png", "--recipe", "small") == 2
    assert "recipe small takes its fakes from the manifest" in capsys.readouterr().err
    assert preview(tiny, tmp_path / "p.png", "--set", "blend.kind=oval") == 2
    assert not (tmp_path / "p.png").exists()

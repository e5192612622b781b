"""The heat lies where the evidence is, on networks whose evidence is known, and exists for every
model.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.io import decode_jpeg

from unmask.models import create_model, list_models, model_class
from unmask.models.spec import ClipSpec
from unmask.pipeline.clips.prepare import Batch
from unmask.pipeline.reports.heat import (
    as_maps,
    grad_cam,
    heat_of,
    last_map,
    maps_and_slopes,
    overlay,
    seen,
)


def batch_of(pixels: Tensor) -> Batch:
    return Batch(pixels, None, None, torch.ones(len(pixels), dtype=torch.int64))


class Colours(nn.Module):
    """Red anywhere says fake, green anywhere says real; one map per colour."""

    spec = ClipSpec("consecutive", 2, 64)

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 2, 8, stride=8, bias=False)
        with torch.no_grad():
            self.look.weight.zero_()
            self.look.weight[0, 1] = self.look.weight[1, 0] = 0.02
        self.act = nn.ReLU(inplace=True)

    def outputs(self, clip: Tensor, bands: Tensor | None = None) -> dict[str, Tensor]:
        maps = self.act(self.look(clip.flatten(0, 1)))  # (B*T,2,8,8)
        return {"logits": maps.unflatten(0, clip.shape[:2]).mean((1, 3, 4))}


@pytest.mark.parametrize("side", ["fake", "real"])
def test_the_heat_lies_where_the_decision_was_made(side: str) -> None:
    pixels = torch.full((1, 2, 3, 64, 64), 0.1)
    pixels[:, :, 0, 32:, 32:] = 0.9 if side == "fake" else 0.4  # red below right
    pixels[:, :, 1, :32, :32] = 0.4 if side == "fake" else 0.9  # green above left
    heat, what = heat_of(Colours(), batch_of(pixels))
    assert what == "Grad-CAM"
    assert heat.shape == (2, 8, 8)
    inside = heat[:, 4:, 4:] if side == "fake" else heat[:, :4, :4]
    assert inside.sum() / heat.sum() > 0.99
    assert float(heat.max()) == pytest.approx(1.0)


def test_an_inplace_activation_does_not_spoil_the_kept_map() -> None:
    model, pixels = Colours(), torch.rand(1, 2, 3, 64, 64)
    layer = last_map(model, batch_of(pixels), 2)
    assert layer is model.act
    first = grad_cam(model, batch_of(pixels), model.look, 2)
    assert torch.isfinite(first).all() and first.max() > 0
    assert not list(model.look._forward_hooks.values())


class Masker(nn.Module):
    def outputs(self, clip: Tensor, bands: Tensor | None = None) -> dict[str, Tensor]:
        return {
            "logits": clip.new_zeros(1, 2),
            "mask": torch.full((1, clip.shape[1], 1, 4, 4), 2.0),
        }


def test_a_predicted_mask_is_shown_as_it_is() -> None:
    heat, what = heat_of(Masker(), batch_of(torch.rand(1, 1, 3, 8, 8)))
    assert what == "predicted mask"
    assert heat.shape == (1, 4, 4)
    assert torch.allclose(heat, torch.tensor(2.0).sigmoid())


def test_maps_are_known_by_their_shape() -> None:
    assert as_maps(torch.rand(5, 16, 8, 8), 5).shape == (5, 16, 8, 8)
    assert as_maps(torch.rand(1, 7, 7, 32), 4).shape == (1, 32, 7, 7)  # channels last
    assert as_maps(torch.rand(1, 5, 3, 8, 8), 5).shape == (5, 3, 8, 8)
    assert as_maps(torch.rand(2, 197, 12), 2).shape == (2, 12, 14, 14)  # a class token in front
    assert as_maps(torch.rand(2, 196, 12), 2).shape == (2, 12, 14, 14)
    for other in (
        torch.rand(3, 16, 8, 8),
        torch.rand(5, 16),
        torch.rand(5, 16, 1, 1),
        torch.rand(5, 16, 8, 4),
        "text",
    ):
        assert as_maps(other, 5) is None


def test_tokens_keep_their_places() -> None:
    tokens = torch.arange(10.0).view(1, 10, 1)
    assert as_maps(tokens, 1)[0, 0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


@pytest.mark.parametrize("name", list_models())
def test_every_model_has_a_heat_map(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, **model_class(name).small).eval()
    pixels = torch.rand(1, model.spec.frames, 3, model.spec.size, model.spec.size)
    heat, what = heat_of(model, batch_of(pixels))
    if model.spec.coefficients:  # frequencies have no place in the picture
        assert what.startswith("no map") and heat.shape == (1, 1, 1)
        return
    assert what in ("Grad-CAM", "predicted mask")
    assert heat.ndim == 3 and len(heat) in (1, model.spec.frames) and min(heat.shape[1:]) > 1
    assert torch.isfinite(heat).all() and heat.min() >= 0 and heat.max() <= 1


@pytest.mark.parametrize("name", ["vit", "swin", "tall_swin", "vim", "encoder"])
def test_maps_of_transformers_hang_on_the_places_and_not_on_the_class_token_alone(
    name: str,
) -> None:
    torch.manual_seed(0)
    model = create_model(name, **model_class(name).small).eval()
    spec = model.spec
    batch = batch_of(torch.randn(1, spec.frames, 3, spec.size, spec.size))
    layer = last_map(model, batch, spec.frames)
    maps, slopes = maps_and_slopes(model, batch, layer, spec.frames)
    assert maps.shape == slopes.shape and (slopes != 0).float().mean() > 0.9
    heat, _ = heat_of(model, batch)
    assert float(heat.max()) == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["encoder", "lite", "vit"])
def test_each_frame_that_any_model_takes_in_a_thumbnail_gets_its_own_heat(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, **{**model_class(name).small, "size": 128}, thumbnail="2x2").eval()
    heat, what = heat_of(model, batch_of(torch.randn(1, 4, 3, 64, 64)))
    assert what == "Grad-CAM" and len(heat) == 4 and heat.amax() > 0
    assert len({one.sum().item() for one in heat}) == 4


def test_each_frame_of_a_thumbnail_gets_its_own_heat() -> None:
    torch.manual_seed(0)
    model = create_model("tall_swin", **model_class("tall_swin").small).eval()
    clip = torch.zeros(1, 8, 3, 28, 28)
    clip[:, 6] = torch.randn(3, 28, 28) * 5  # one frame of the second clip is unlike the others
    heat, _ = heat_of(model, batch_of(clip))
    assert heat.shape[0] == 8 and torch.isfinite(heat).all()
    alike = (heat[4:] - heat[4]).abs().flatten(1).amax(1)
    assert alike[2] > 0 and heat[6].std() > 0


class Middle(nn.Module):
    """Tokens of 4 x 4 places and one that is none, in the middle; the red place decides."""

    spec, extra_tokens = ClipSpec("single", 1, 64), (8,)

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3)

    def outputs(self, clip: Tensor, bands: Tensor | None = None) -> dict[str, Tensor]:
        places = torch.nn.functional.avg_pool2d(clip[:, 0], 16).flatten(2).transpose(1, 2)
        extra = places.new_ones(len(places), 1, 3)
        tokens = self.norm(torch.cat([places[:, :8], extra, places[:, 8:]], 1))
        red = torch.cat([tokens[:, :8, 0], tokens[:, 9:, 0]], 1).clamp_min(0).square().sum(1)
        return {"logits": torch.stack([torch.zeros_like(red), red], 1)}


def test_a_token_in_the_middle_moves_no_place() -> None:
    pixels = torch.full((1, 1, 3, 64, 64), 0.5)
    pixels[0, 0, 0, 48:, 16:32] = 1.0  # the last row, second column: behind the middle
    heat, _ = heat_of(Middle(), batch_of(pixels))
    assert heat.shape == (1, 4, 4) and heat[0].argmax() == 3 * 4 + 1


@pytest.mark.parametrize("norm", ["unit", "half", "imagenet", "raw255"])
def test_the_picture_is_what_the_model_saw(norm: str) -> None:
    from unmask.pipeline.clips.prepare import normalise

    picture = torch.rand(2, 3, 8, 8)
    spec = ClipSpec("consecutive", 2, 8, norm=norm)
    assert torch.allclose(seen(normalise(picture[None].clone(), norm)[0], spec), picture, atol=1e-5)


def test_the_overlay_is_two_rows_and_hot_where_the_heat_is() -> None:
    frames = torch.full((3, 3, 40, 40), 0.5)
    heat = torch.zeros(3, 8, 8)
    heat[:, :4] = 1.0
    picture = decode_jpeg(
        torch.from_numpy(np.frombuffer(overlay(frames, heat), np.uint8).copy())
    ).float()
    assert picture.shape == (3, 320, 480)
    below = picture[:, 160:]
    assert below[0, :60].mean() > below[0, 100:].mean() + 40  # red above
    assert (below[0, 100:] - below[2, 100:]).abs().mean() < 6  # grey below

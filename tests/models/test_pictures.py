"""Thumbnails: any model on single pictures takes four consecutive frames laid out as one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unmask.models import create_model, model_class, resolve_options
from unmask.models.options import ModelError

TAKERS = ("encoder", "lite", "meso4", "mesoinception4", "swin", "vim", "vit")


def stitched(clip: Tensor) -> Tensor:
    """(B, 4, 3, S, S) -> (B, 1, 3, 2S, 2S)."""
    rows = [torch.cat([clip[:, t], clip[:, t + 1]], -1) for t in (0, 2)]
    return torch.cat(rows, -2)[:, None]


@pytest.mark.parametrize("name", TAKERS)
def test_a_thumbnail_is_judged_as_the_picture_of_its_four_frames(name: str) -> None:
    torch.manual_seed(0)
    options = model_class(name).small
    whole = create_model(name, **options).eval()
    model = create_model(name, **options, thumbnail="2x2").eval()
    model.load_state_dict(whole.state_dict())
    mine, theirs = model.spec, whole.spec
    assert (mine.mode, mine.frames, mine.size * 2) == ("consecutive", 4, theirs.size)
    assert (mine.norm, mine.fit, theirs.mode) == (theirs.norm, "resize", "single")
    clip = torch.randn(2, 4, 3, mine.size, mine.size)
    with torch.no_grad():
        found, expected = model.outputs(clip), whole.outputs(stitched(clip))
    for part in ("logits", "feature"):
        torch.testing.assert_close(found[part], expected[part], rtol=1e-5, atol=1e-6)
    with pytest.raises(ModelError, match=rf"{name}: expected a clip"):
        model(torch.zeros(1, 4, 3, theirs.size, theirs.size))


@pytest.mark.parametrize("name", TAKERS)
def test_frames_are_judged_alone_without_the_option(name: str) -> None:
    assert resolve_options(name, {})["thumbnail"] == "none"
    torch.manual_seed(0)
    model = create_model(name, **model_class(name).small).eval()
    clip = torch.randn(1, 3, 3, model.spec.size, model.spec.size)
    with torch.no_grad():
        alone = torch.stack([model(clip[:, t : t + 1]) for t in range(3)]).mean(0)
        # the encoder's default joins features, of which a linear head makes the same
        torch.testing.assert_close(model(clip), alone, rtol=1e-4, atol=1e-5)


def test_an_encoder_joins_thumbnails_as_it_joins_frames() -> None:
    torch.manual_seed(0)
    options = {**model_class("encoder").small, "conditioning": "l2", "thumbnail": "2x2"}
    model = create_model("encoder", **options, frames=3).eval()
    assert (model.spec.mode, model.spec.frames, model.spec.run) == ("runs", 12, 4)
    clip = torch.randn(2, 12, 3, 32, 32)
    with torch.no_grad():
        each = [model.encoder(stitched(clip[:, t : t + 4])[:, 0]) for t in (0, 4, 8)]
        unit = torch.stack([f / f.norm(dim=1, keepdim=True) for f in each], 1)  # (2, 3, D)
        joined = unit.mean(1)
        found = model.outputs(clip)
        assert found["frame_feature"].shape == unit.shape
        expected = joined / joined.norm(dim=1, keepdim=True)
        torch.testing.assert_close(found["feature"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["encoder", "lite"])
def test_a_side_that_the_frames_do_not_divide_is_refused(name: str) -> None:
    options = {**model_class(name).small, "size": 65, "thumbnail": "2x2"}
    with pytest.raises(ModelError, match=f"{name}: size 65 does not divide into 2x2 frames"):
        create_model(name, **options)

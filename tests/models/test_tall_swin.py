"""tall_swin: thumbnails of four frames, windows over all of them, and the published size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer

from unmask.models import create_model
from unmask.models.cost import measure_cost
from unmask.models.layers.pictures import pictures_of, thumbnail, untiled
from unmask.models.options import ModelError
from unmask.models.spec import ClipSpec
from unmask.models.tall_swin import TallSwin, resized_twice
from unmask.models.weights import load_tensors


def tiny(**options: object) -> TallSwin:
    torch.manual_seed(0)
    return TallSwin(**{**TallSwin.small, **options}).eval()


def test_frames_lie_in_the_thumbnail_row_by_row() -> None:
    numbered = torch.arange(1.0, 5).view(1, 4, 1, 1, 1).expand(1, 4, 3, 2, 2)
    rows = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert thumbnail(numbered)[0, 0].tolist() == rows
    inside = torch.arange(48.0).view(1, 4, 3, 2, 2)  # no frame is turned or mirrored
    assert torch.equal(thumbnail(inside)[0, :, 2:, :2], inside[0, 2])
    assert torch.equal(untiled(thumbnail(inside)[:, 1], 2), inside[0, :, 1])
    nine = torch.arange(9.0).view(1, 9, 1, 1, 1)
    assert thumbnail(nine)[0, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_the_last_frame_fills_a_thumbnail_that_has_too_few() -> None:
    clip = torch.arange(1.0, 7).view(1, 6, 1, 1, 1)
    assert pictures_of(clip, 2)[0, :, 0].tolist() == [[[1, 2], [3, 4]], [[5, 6], [6, 6]]]
    assert pictures_of(clip, 1) is clip


def test_the_published_size_and_cost() -> None:
    cost = measure_cost("tall_swin", clip=(1, 4, 3, 112, 112)).total
    assert (cost.parameters, cost.macs) == (86_920_506, 16_315_029_504)
    with torch.device("meta"):
        model = create_model("tall_swin")
    assert model.frame_embedding.shape == (1, 4, 128)
    assert model.spec == ClipSpec("runs", 32, 112, fit="resize", norm="imagenet", run=4)


def test_nothing_is_shifted_where_the_map_is_one_window() -> None:
    with torch.device("meta"):
        stages = create_model("tall_swin").backbone.layers
    windows = [[block.window_size for block in stage.blocks] for stage in stages]
    shifts = [[block.shift_size for block in stage.blocks] for stage in stages]
    assert [set(one) for one in windows] == [{(14, 14)}, {(14, 14)}, {(14, 14)}, {(7, 7)}]
    assert [stage.output_resolution[0] for stage in stages] == [56, 28, 14, 7]
    assert shifts[0] == shifts[1] == [(0, 0), (7, 7)]
    assert {shift for stage in shifts[2:] for shift in stage} == {(0, 0)}


def test_without_frame_vectors_it_is_swin_on_the_stitched_picture() -> None:
    model = tiny(size=56, layers="2-1")  # maps of 28 and 14 places: the first stage shifts
    swin = SwinTransformer(
        img_size=112, embed_dim=32, depths=(2, 1), num_heads=(1, 2), window_size=14, num_classes=2
    ).eval()
    for module in swin.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = True
    state = {
        name.removeprefix("backbone.").replace("head.", "head.fc."): value
        for name, value in model.state_dict().items()
        if name != "frame_embedding"
    }
    swin.load_state_dict(state)
    clip = torch.randn(2, 8, 3, 56, 56)
    top, bottom = (torch.cat([clip[:, k], clip[:, k + 1]], -1) for k in (0, 2))
    first = torch.cat([top, bottom], -2)
    with torch.no_grad():
        assert (model(clip[:, :4]) - swin(first)).abs().max() > 1e-4
        model.frame_embedding.zero_()
        torch.testing.assert_close(model(clip[:, :4]), swin(first), rtol=1e-4, atol=1e-5)
        each = torch.stack([model(clip[:, :4]), model(clip[:, 4:])])
        torch.testing.assert_close(model(clip), each.mean(0))  # logits, before any loss


def test_each_frames_vector_is_on_its_own_tile_alone() -> None:
    model = tiny()
    with torch.no_grad():
        model.frame_embedding.copy_(torch.arange(1.0, 5).view(1, 4, 1).expand(1, 4, 32))
        places = model._map_of_frames(7)[0, :, :, 0]
    assert [places[y, x].item() for y in (0, 13) for x in (0, 13)] == [1, 2, 3, 4]
    assert (places[:7, 7:] == 2).all() and (places[7:, :7] == 3).all()


def test_double_resize_is_the_blur_that_the_release_makes_of_each_frame() -> None:
    torch.manual_seed(0)
    frames = torch.randn(1, 4, 3, 8, 8)
    kernel = torch.tensor([1 / 8, 3 / 4, 1 / 8])
    plane = (kernel[:, None] * kernel).expand(3, 1, 3, 3)
    blurred = F.conv2d(F.pad(frames[0], (1, 1, 1, 1), mode="replicate"), plane, groups=3)
    # the whole is reduced after it was laid out: at the seams of a frame nothing is mixed
    torch.testing.assert_close(resized_twice(thumbnail(frames)), thumbnail(blurred[None]))
    clip = torch.randn(1, 4, 3, 28, 28)
    twice, plain = tiny(double_resize=True), tiny()
    with torch.no_grad():
        assert (twice(clip) - plain(clip)).abs().max() > 1e-5


def test_tables_of_another_window_are_resized_bilinearly() -> None:
    torch.manual_seed(0)
    small, model = tiny(window=7), tiny(window=14)
    report = load_tensors(model, small.state_dict(), "w")
    assert not report.reshaped and not report.missing
    name = "backbone.layers.0.blocks.0.attn.relative_position_bias_table"
    old, new = (net.state_dict()[name].T.reshape(-1) for net in (small, model))
    table = F.interpolate(old.view(1, 1, 13, 13), size=(27, 27), mode="bilinear")
    assert torch.equal(new, table.flatten())
    assert torch.equal(
        model.backbone.layers[0].blocks[0].mlp.fc1.weight,
        small.backbone.layers[0].blocks[0].mlp.fc1.weight,
    )


def test_what_it_cannot_be_is_refused_in_words() -> None:
    with torch.device("meta"):
        with pytest.raises(ModelError, match="clips=0 and window=14 must be 1 or more"):
            create_model("tall_swin", clips=0)
        with pytest.raises(ModelError, match="at 240 px its maps are 60"):
            create_model("tall_swin", size=120)

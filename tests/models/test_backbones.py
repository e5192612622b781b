"""The table of encoders: counts, norms and names against timm's own, without a download."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from unmask.models.backbones import BACKBONES, find_backbone, make_backbone
from unmask.models.options import ModelError
from unmask.models.spec import NORMS

SMALL = {name for name in BACKBONES if name.endswith(("-t", "-s"))}


@pytest.mark.parametrize(
    "name", [n if n in SMALL else pytest.param(n, marks=pytest.mark.slow) for n in BACKBONES]
)
def test_counts_and_norms_are_those_of_timms_network(name: str) -> None:
    known = BACKBONES[name]
    with torch.device("meta"):
        network = make_backbone(known, 224)
    norms = [m for m in network.modules() if isinstance(m, nn.LayerNorm)]
    assert sum(p.numel() for p in network.parameters()) == known.parameters
    assert sum(p.numel() for m in norms for p in m.parameters()) == known.norms
    assert known.source in timm.list_pretrained(known.source.partition(".")[0] + ".*")
    cfg = timm.get_pretrained_cfg(known.source)
    assert NORMS[known.norm] == (cfg.mean, cfg.std)


def test_both_names_mean_the_same_and_any_of_timms_will_do() -> None:
    assert find_backbone("pe-core-s") is find_backbone("vit_pe_core_small_patch16_384.fb")
    own = find_backbone("test_vit3.r160_in1k")
    assert (own.source, own.norm) == ("test_vit3.r160_in1k", "half")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pe-core", "no backbone 'pe-core'; did you mean 'pe-core-"),
        ("test_vit", r"needs the tag of its weights; timm has test_vit\.r160_in1k"),
        ("vit_large_patch14_clip_quickgelu_224", r"needs the tag.*\.dfn2b"),
        ("test_vit.nobody", "needs the tag of its weights"),
    ],
)
def test_a_name_without_its_tag_is_refused_with_the_tags_there_are(name, message) -> None:
    with pytest.raises(ModelError, match=message):
        find_backbone(name)


def test_a_side_that_is_no_multiple_of_the_patch_is_refused() -> None:
    with pytest.raises(ModelError, match="size 240 is not a multiple of its patch of 14 px"):
        make_backbone(BACKBONES["dinov2-s"], 240)

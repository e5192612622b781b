"""encoder: a large pretrained encoder on single frames, of which little or nothing is trained, and
a small head.

Paper: Yermakov, Cech, Matas, Fritz, "Deepfake Detection that Generalizes Across Benchmarks" (GenD),
WACV 2026, https://arxiv.org/abs/2508.06248: CLIP's ViT-L/14 of which LayerNorms and head learn,
feature brought to unit length. With `conditioning="none"` the head of Effort (Yan et al., ICML
2025, https://arxiv.org/abs/2411.15633), whose low-rank change is part of the weights once trained.
Input: (B, T, 3, 224, 224), normalised as the encoder was trained, or the features (B, T, D) that
`frame_features` made of such frames. Frames are encoded alone and joined by `pool`.
Size: 303,181,826 parameters, 104,450 of them in LayerNorms and head; 81.01 GMACs a frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.models.backbones import BACKBONES, find_backbone, how_it_is_made, make_backbone
from unmask.models.layers.low_rank import LowRank, add_low_rank, merge_low_rank
from unmask.models.layers.pictures import GRIDS, Thumbnail, picture_spec, pictures_of
from unmask.models.options import ModelError
from unmask.models.spec import ClipSpec
from unmask.models.weights import Backbone

CLIP_L = "vit_large_patch14_clip_quickgelu_224.openai"
HIDDEN = 256  # of the head mlp
ATTENTION = 128  # of the pool attention
# Of neighbouring frames the cache has so many by default; more are taken one of each clip.
NEIGHBOURS = 5


class AttentionPool(nn.Module):
    """Frames (B, T, D) -> their weighted mean (B, D), a_t = softmax(w tanh(V f_t)).

    Ilse, Tomczak, Welling, "Attention-based Deep Multiple Instance Learning", ICML 2018, arXiv
    1802.04712, equation 8.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, ATTENTION, bias=False)
        self.weight = nn.Linear(ATTENTION, 1, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        share = self.weight(torch.tanh(self.hidden(frames))).softmax(1)  # (B, T, 1)
        return (share * frames).sum(1)


class Encoder(nn.Module):
    """A timm encoder with two classes; see the module docstring.

    backbone: a short name of backbones.py, or any of timm's with its tag.
    size: side of the frames, px; positions are made for it.
    fit: how a crop gets that side.
    tune: what of the encoder learns: norm its LayerNorms, none nothing, lora low-rank changes of
        its attention, full all of it. The head always learns.
    rank, alpha: of lora.
    conditioning: l2 brings features to unit length before the head.
    pool: how frames are joined: mean of their features, mean of their logits, or attention.
    head: linear, or mlp (D, 256, 2; GELU, dropout 0.1; no norm).
    frames: of a sample: 1, up to 5 neighbours, or more, one of each of so many clips.
    thumbnail: 2x2 lays four consecutive frames out as one picture; `frames` then counts pictures,
        each of another part of the video.
    """

    small: ClassVar[dict[str, object]] = {
        "backbone": "test_vit.r160_in1k",
        "size": 64,
        "conditioning": "none",
        "tune": "full",
    }

    def __init__(
        self,
        *,
        backbone: str = CLIP_L,
        size: int = 224,
        conditioning: Literal["l2", "none"] = "l2",
        tune: Literal["norm", "none", "lora", "full"] = "norm",
        pool: Literal["mean", "logits", "attention"] = "mean",
        head: Literal["linear", "mlp"] = "linear",
        frames: int = 1,
        fit: Literal["resize", "crop"] = "resize",
        rank: int = 8,
        alpha: float = 16.0,
        thumbnail: Thumbnail = "none",
    ) -> None:
        super().__init__()
        if frames < 1 or rank < 1:
            raise ModelError(f"encoder: frames={frames} and rank={rank} must be at least 1")
        known = find_backbone(backbone)
        self.grid = GRIDS[thumbnail]
        self.spec = _spec(frames, size, fit, known.norm, thumbnail)
        self.conditioning, self.tune, self.joined = conditioning, tune, pool
        self.encoder = make_backbone(known, size)
        self.pretrained = (Backbone(known.source, "encoder", made=how_it_is_made(known, size)),)
        if tune == "lora":
            add_low_rank(self.encoder, rank, alpha)
        width = self.encoder.num_features
        if pool == "attention":
            self.pool = AttentionPool(width)
        self.head = nn.Linear(width, 2) if head == "linear" else _mlp(width)
        if tune != "full":
            self.encoder.requires_grad_(False)
            for parameter in _learning(self.encoder, tune):
                parameter.requires_grad_(True)

    @staticmethod
    def backbones() -> list[tuple[str, str, str]]:
        """(short name, timm's, licence of the weights) of every encoder with a short name."""
        return [(name, known.source, known.licence) for name, known in BACKBONES.items()]

    def train(self, mode: bool = True) -> Encoder:
        """As nn.Module's; an encoder of which little learns stays in eval mode."""
        super().train(mode)
        if self.tune != "full":
            self.encoder.eval()
        return self

    def frame_features(self, clip: Tensor) -> Tensor:
        """(B, T, 3, S, S) frames -> (B, T, D), as the encoder gives them; of thumbnails a row each.

        Raises ModelError for a clip of another side.
        """
        side = self.spec.size
        if clip.ndim != 5 or clip.shape[2:] != (3, side, side):
            raise ModelError(
                f"encoder: expected a clip (B, T, 3, {side}, {side}), got {tuple(clip.shape)}"
            )
        pictures = pictures_of(clip, self.grid)
        return self.encoder(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])

    def outputs(self, clip: Tensor, bands: Tensor | None = None) -> dict[str, Tensor]:
        """Logits (B, 2), feature (B, D) of the clip after conditioning, frame_feature (B, T, D) of
        its frames. Raises ModelError for a clip of another side, or features of another width.
        """
        frames = clip if clip.ndim == 3 else self.frame_features(clip)  # (B, T, D)
        if frames.shape[-1] != self.encoder.num_features:
            raise ModelError(
                f"encoder: expected features (B, T, {self.encoder.num_features}), got "
                f"{tuple(clip.shape)}"
            )
        frames = self.conditioned(frames)
        if self.joined == "logits":
            return {
                "logits": self.head(frames).mean(1),
                "feature": frames.mean(1),
                "frame_feature": frames,
            }
        joined = self.pool(frames) if self.joined == "attention" else frames.mean(1)
        feature = self.conditioned(joined)
        return {"logits": self.head(feature), "feature": feature, "frame_feature": frames}

    def conditioned(self, feature: Tensor) -> Tensor:
        """Features (..., D), of unit length where the option says so."""
        return F.normalize(feature, dim=-1) if self.conditioning == "l2" else feature

    def forward(self, clip: Tensor, bands: Tensor | None = None) -> Tensor:
        return self.outputs(clip, bands)["logits"]

    def merge(self) -> None:
        """Make plain layers of low-rank ones: the same answers, nothing of them left to train."""
        merge_low_rank(self.encoder)


def _spec(frames: int, size: int, fit: str, norm: str, thumbnail: Thumbnail) -> ClipSpec:
    """Raises ModelError for a side that the frames of a thumbnail do not divide."""
    if thumbnail != "none":
        one = picture_spec("encoder", size, fit, norm, thumbnail)
        if frames == 1:
            return one
        return replace(one, mode="runs", frames=frames * one.frames, run=one.frames)
    mode = "single" if frames == 1 else "consecutive" if frames <= NEIGHBOURS else "sparse"
    return ClipSpec(mode, frames, size, fit=fit, norm=norm)  # type: ignore[arg-type]


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, HIDDEN), nn.GELU(), nn.Dropout(0.1), nn.Linear(HIDDEN, 2))


def _learning(encoder: nn.Module, tune: str) -> Iterator[nn.Parameter]:
    """What of a frozen encoder learns all the same, found by the type of the layer: names with
    "norm" in them miss some of ConvNeXt's.
    """
    for module in encoder.modules():
        if tune == "norm" and isinstance(module, nn.LayerNorm):
            yield from module.parameters(recurse=False)
        elif tune == "lora" and isinstance(module, LowRank):
            yield from (module.down, module.up)

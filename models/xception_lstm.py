"""Xception-LSTM: spatial and temporal attention on the raw frames, a shared Xception, a ConvLSTM,
three dense layers.

Paper: Chen, Li, Ding, "Detecting deepfake videos based on spatiotemporal attention and
convolutional LSTM", Information Sciences 601 (2022) 58-70.
Input: (B, T, 3, H, W), pixels / 127.5 - 1; published T = 30 frames of 224 x 224. Any T and any side
whose last map is at least 3 px (65 px upward, 71 px with Xception) run.
Size: 135,632,756 parameters (attention 74, Xception 20,806,952, ConvLSTM 113,250,304, dense
1,575,426); 221.46 GMACs for 30 frames.

Decisions where paper and release differ, and ours:
- The temporal key is transposed (paper); `key_reshape=True` reshapes (T, 3) to (3, T) as the
release does, which
  mixes frames and channels.
- Pixels are scaled to -1..1, what ImageNet's Xception expects; `norm="raw255"` feeds 0..255 as the
release does.
- `pad="tf"` is Keras' Xception (asymmetric pools, BatchNorm eps 1e-3 and momentum 0.01), `torch` is
  timm's, whose weights it fits; for EfficientNet-B0 they are timm's tf_efficientnet_b0 and
  efficientnet_b0, without the scaling of pixels that Keras' EfficientNet has inside.
- `rnn="lstm"` is a ConvLSTM of kernel 1 on a 1 x 1 map with logistic gates: an LSTM with one bias,
as in Keras.
- `filters` scales the ConvLSTM and the dense layers (1024 published) for small machines.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.models.layers.convlstm import ConvLSTM, same_padding
from unmask.models.spec import ClipSpec
from unmask.models.weights import Backbone

# (backbone, pad) -> timm's architecture, the tag of its ImageNet weights, channels of its last map
BACKBONES = {
    ("xception", "tf"): ("legacy_xception", "tf_in1k", 2048),
    ("xception", "torch"): ("legacy_xception", "tf_in1k", 2048),
    ("efficientnet_b0", "tf"): ("tf_efficientnet_b0", "in1k", 1280),
    ("efficientnet_b0", "torch"): ("efficientnet_b0", "ra_in1k", 1280),
}
DROPOUT = 0.5


class SpatialAttention(nn.Module):
    """One 3-vector w per frame from a soft mask over its pixels: (N, 3, H, W) -> (N, 3); 34
    parameters.

    m = sigmoid(conv(x)); s = sum over pixels of m * x; w = linear(relu(layernorm(linear(s)))).
    """

    def __init__(self) -> None:
        super().__init__()
        self.mask = nn.Conv2d(3, 1, 1)
        self.enter = nn.Linear(3, 3)
        self.norm = nn.LayerNorm(3, eps=1e-3)
        self.leave = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        # a sum over 50,000 pixels: float32 also under autocast
        wide = torch.promote_types(x.dtype, torch.float32)
        s = (torch.sigmoid(self.mask(x)).to(wide) * x.to(wide)).sum((2, 3))  # (N, 3)
        return self.leave(F.relu(self.norm(self.enter(s))))


class TemporalAttention(nn.Module):
    """w' = w + z: every frame's vector looks at all frames: (B, T, 3) -> (B, T, 3); 40 parameters.

    A = softmax(q k'), not scaled, (T, T); z = linear(A v), one number per frame, added to the three
    channels.
    """

    def __init__(self, key_reshape: bool) -> None:
        super().__init__()
        self.key_reshape = key_reshape
        self.query, self.key, self.value = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.leave = nn.Linear(3, 1)

    def forward(self, w: Tensor) -> Tensor:
        k = self.key(w)
        k = k.reshape(k.shape[0], 3, -1) if self.key_reshape else k.transpose(1, 2)  # (B, 3, T)
        attention = torch.softmax(self.query(w) @ k, dim=-1)  # (B, T, T)
        return w + self.leave(attention @ self.value(w))


class FrameAttention(nn.Module):
    """x' = (x + w) * w' + x on the frames themselves, or x + w with `full=False`: (B, T, 3, H, W)
    -> the same.
    """

    def __init__(self, full: bool, key_reshape: bool) -> None:
        super().__init__()
        self.spatial = SpatialAttention()
        self.temporal = TemporalAttention(key_reshape) if full else None

    def forward(self, clip: Tensor) -> Tensor:
        w = self.spatial(clip.flatten(0, 1)).unflatten(0, clip.shape[:2])  # (B, T, 3)
        shifted = clip + w[..., None, None]
        if self.temporal is None:
            return shifted
        return shifted * self.temporal(w)[..., None, None] + clip


class SamePool(nn.Module):
    """Keras' 'same' max pool 3x3 with stride 2: on even sides the only border lies at the bottom
    and right.
    """

    def forward(self, x: Tensor) -> Tensor:
        (top, bottom), (left, right) = (same_padding(n, 3, 2) for n in x.shape[-2:])
        return F.max_pool2d(F.pad(x, (left, right, top, bottom), value=-math.inf), 3, 2)


class Head(nn.Module):
    """Dense `filters` and filters/2 with ReLU and dropout, dense 2: (B, F) -> feature (B, F/2),
    logits (B, 2).
    """

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.dense1 = nn.Linear(filters, filters)
        self.dense2 = nn.Linear(filters, filters // 2)
        self.dense3 = nn.Linear(filters // 2, 2)
        for layer in (self.dense1, self.dense2, self.dense3):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.dropout(F.relu(self.dense1(x)), DROPOUT, self.training)
        feature = F.relu(self.dense2(x))
        return feature, self.dense3(F.dropout(feature, DROPOUT, self.training))


class XceptionLSTM(nn.Module):
    """Attention -> shared backbone -> ConvLSTM, last step -> mean -> dense: (B, T, 3, H, W) ->
    logits (B, 2).

    attention: full (spatial and temporal), spatial or none.
    backbone, pad: see the module.
    rnn: convlstm or lstm.
    frames: 30 takes 6 cached clips in time order, 5 or fewer one clip; the network itself takes any
        T.
    size, fit: what `spec` asks of the cache.
    norm: half is pixels / 127.5 - 1.
    filters: of the ConvLSTM (1024 published).
    bn_momentum: of the backbone's BatchNorms; 0 keeps the backbone's own (0.01 in `tf` Xception, as
        Keras).
    """

    small: ClassVar[dict[str, object]] = {
        "backbone": "efficientnet_b0",
        "filters": 32,
        "frames": 3,
        "size": 96,
    }
    pretrained_options: ClassVar[dict[str, object]] = {"pad": "torch"}

    def __init__(
        self,
        *,
        attention: Literal["full", "spatial", "none"] = "full",
        backbone: Literal["xception", "efficientnet_b0"] = "xception",
        rnn: Literal["convlstm", "lstm"] = "convlstm",
        frames: int = 30,
        key_reshape: bool = False,
        norm: Literal["half", "raw255", "imagenet", "unit"] = "half",
        pad: Literal["tf", "torch"] = "tf",
        filters: Literal[1024, 256, 64, 32] = 1024,
        size: int = 224,
        fit: Literal["crop", "resize"] = "crop",
        bn_momentum: float = 0.0,
    ) -> None:
        super().__init__()
        mode = "chained" if frames > 5 else "consecutive"
        self.spec = ClipSpec(mode=mode, frames=frames, size=size, fit=fit, norm=norm)
        name, tag, channels = BACKBONES[backbone, pad]
        self.pretrained = (Backbone(source=f"{name}.{tag}", prefix="backbone"),)
        self.attention = (
            None if attention == "none" else FrameAttention(attention == "full", key_reshape)
        )
        self.backbone = build_backbone(name, pad, bn_momentum)
        if rnn == "convlstm":
            self.rnn = ConvLSTM(
                channels,
                filters,
                3,
                padding="valid",
                dropout=DROPOUT,
                init="glorot_uniform",
                last=True,
            )
        else:
            self.rnn = ConvLSTM(
                channels,
                filters,
                1,
                gate_act="sigmoid",
                dropout=DROPOUT,
                init="glorot_uniform",
                last=True,
            )
        self.pool_first = rnn == "lstm"
        self.head = Head(filters)
        self.to(memory_format=torch.channels_last)

    def outputs(self, clip: Tensor, bands: Tensor | None = None) -> dict[str, Tensor]:
        """Logits (B, 2) and the last dense layer's feature (B, filters / 2) of clips (B, T, 3, H,
        W).

        Raises ValueError where the last map would be smaller than the ConvLSTM's kernel.
        """
        if clip.ndim != 5 or clip.shape[2] != 3:
            raise ValueError(
                f"xception_lstm: expected a clip (B, T, 3, H, W), got {tuple(clip.shape)}"
            )
        frames = clip.shape[1]
        if self.attention is not None:
            clip = self.attention(clip)
        x = (
            clip.transpose(0, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        )  # (T*B, 3, H, W)
        x = self.backbone.forward_features(x)  # (T*B, C, H/32, W/32)
        if self.pool_first:
            x = x.mean((2, 3), keepdim=True)
        elif min(x.shape[2:]) < 3:
            raise ValueError(
                f"xception_lstm: {tuple(clip.shape[3:])} px leave a last map of "
                f"{tuple(x.shape[2:])}, less than the "
                "3 x 3 kernel of the ConvLSTM; use a side of at least 71 px, or rnn=lstm"
            )
        x = self.rnn(x, frames).mean((2, 3))  # (B, filters)
        feature, logits = self.head(x)
        return {"logits": logits, "feature": feature}

    def forward(self, clip: Tensor, bands: Tensor | None = None) -> Tensor:
        return self.outputs(clip, bands)["logits"]


def build_backbone(name: str, pad: str, momentum: float) -> nn.Module:
    """timm's network without classifier, its pools and BatchNorms as in Keras for Xception with
    `pad` tf.
    """
    # timm reads the settings of some hundred networks: only who builds one pays
    import timm

    backbone = timm.create_model(name, num_classes=0)
    keras = name == "legacy_xception" and pad == "tf"
    for module in list(backbone.modules()):
        if keras and isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-3, 0.01
        if momentum and isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
        if keras and isinstance(module, nn.Sequential):
            for index, layer in enumerate(module):
                if isinstance(layer, nn.MaxPool2d):
                    module[index] = SamePool()
    return backbone

"""M2TR: multi-modal multi-scale transformer, one face picture in, logits and a manipulation mask
out.

Paper: Wang, Wu, Ouyang, Han, Chen, Lim, Jiang, https://arxiv.org/abs/2104.09770. Two networks carry
the name:
- `variant="dct"` (default; version 1 of April 2021, figure 2): fixed DCT bands of the picture feed
a frequency
  stream, one multi-scale transformer, one cross-modality fusion. No code of it was released.
- `variant="fft"` (ICMR 2022, the released network): four stages of transformer, learnt FFT filter,
cross attention.

Input: (B, T, 3, S, S) with ImageNet mean and std, S a multiple of 32; published T = 1 and S = 320,
default 224 so that a crop of 240 px is cut and not interpolated. T frames share the network and
their features are averaged before the classifier, which in evaluation is the mean of the frames'
logits (the classifier is linear); `video="vtf"` puts the transformer of models/vtf.py there. dct
also takes bands (B, T, 9, S, S). Size of fft, without the backbone's own classifier that upstream
carries unused, MACs without the FFT:
    side 224   18,184,010 parameters    4,704,355,040 MACs
    side 256   18,308,938 parameters    7,150,141,280 MACs
    side 320   18,607,946 parameters   14,945,213,792 MACs
(4 S^2 MACs fewer than published: with one token, attention is its value and nothing is multiplied.)
Size of dct at 224: 17,616,938 parameters, 2,360,734,432 MACs, and 66,663,072 where it makes the
bands itself.

Ours where version 1 says nothing: the frequency stream is three 3x3 convolutions; f_mt is the
transformer's output with its residual; the C in its sqrt(r r C) is read as the 8 channels of a
head. Elsewhere as released, but: raw logits in training and evaluation (upstream feeds sigmoids to
a softmax), and a mask decoder that can be built (upstream's cannot).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.models.layers.attention import CrossAttention, MultiScaleTransformer, feed_forward
from unmask.models.layers.bands import Bands, Definition, LearnableBands
from unmask.models.layers.spectrum import GlobalFilter
from unmask.models.options import ModelError
from unmask.models.spec import NORMS, ClipSpec
from unmask.models.vtf import VTF
from unmask.models.weights import Backbone


class FilterStage(nn.Module):
    """One stage of the fft variant on maps (N, C, side, side): transformer, frequency filter,
    cross-modality fusion.

    sequential (released code): filter and fusion read the transformer's output. parallel (figure):
    transformer and filter both read the input, whose positions ask the filtered map.
    """

    def __init__(self, channels: int, side: int, wiring: Literal["sequential", "parallel"]) -> None:
        super().__init__()
        self.wiring = wiring
        self.transformer = MultiScaleTransformer(channels)
        self.filter = GlobalFilter(channels, side)
        self.feed = feed_forward(channels)
        self.cross = CrossAttention(channels)
        self.out = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.BatchNorm2d(channels),
            nn.LeakyReLU(0.2, inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        t = self.transformer(x)
        source = t if self.wiring == "sequential" else x
        f = source + self.feed(self.filter(source))
        return t + self.out(self.cross(source, f))


class BandFusion(nn.Module):
    """Version 1's heart: f_cmf = conv3x3(f_s + f_mt + softmax(Q_s K_fq^T / sqrt(H W C)) V_fq)
    (equations 2 to 6).

    texture f_s: (N, C, S/4, S/4).   bands: (N, 9, S, S).   -> (N, C, S/4, S/4).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.frequency = nn.Sequential(
            *band_conv(9, channels, 2),
            *band_conv(channels, channels, 2),
            *band_conv(channels, channels, 1),
        )
        self.transformer = MultiScaleTransformer(channels)
        self.cross = CrossAttention(channels, scale="map")
        self.join = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, texture: Tensor, bands: Tensor) -> Tensor:
        f_fq = self.frequency(bands)
        return self.join(texture + self.transformer(texture) + self.cross(texture, f_fq))


def band_conv(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """3x3 convolution, BatchNorm, LeakyReLU 0.2."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, inplace=True))


class MaskDecoder(nn.Module):
    """Manipulation mask logits (N, 1, 4H, 4W) from the last fused map (N, C, H, W): 16,337
    parameters at C = 32.

    As released, a LeakyReLU 0.2 ends one block and another begins the next: 0.04 between third and
    last convolution.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, 16, 3, padding=1)
        self.third = nn.Conv2d(16, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(double(x)), 0.2)
        x = F.leaky_relu(self.second(x), 0.2)
        return self.last(F.leaky_relu(self.third(double(x)), 0.2 * 0.2))


def double(x: Tensor) -> Tensor:
    """Twice the side, bilinear, corners aligned."""
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


class M2TR(nn.Module):
    """M2TR on (B, T, 3, S, S); see the module docstring for its two variants.

    side: S, px, a multiple of 32; fit: how the cache's crops come to it (auto: cropped up to 240,
    else resized).
    band, filter: definition of the DCT bands, and whether their masks are learnt (dct). wiring,
    depth: how a stage is connected and how many there are, 4 published (fft). mask: add the
    decoder. backbone: timm's EfficientNet, b4 published; b0 and test_efficientnet are for small
    machines.
    frames: T that `spec` asks of the cache; more than one are centre frames spread over the video.
    video: how T frames become one answer, mean (their features) or vtf (16 frames published).
    """

    small: ClassVar[dict[str, object]] = {"backbone": "test_efficientnet", "side": 64, "depth": 1}

    def __init__(
        self,
        *,
        variant: Literal["dct", "fft"] = "dct",
        side: int = 224,
        fit: Literal["auto", "crop", "resize"] = "auto",
        band: Definition = "area",
        filter: Literal["fixed", "learnable"] = "fixed",
        wiring: Literal["sequential", "parallel"] = "sequential",
        depth: int = 4,
        mask: bool = False,
        backbone: Literal[
            "tf_efficientnet_b4", "tf_efficientnet_b0", "test_efficientnet"
        ] = "tf_efficientnet_b4",
        frames: int = 1,
        video: Literal["mean", "vtf"] = "mean",
    ) -> None:
        super().__init__()
        if frames < (1 if video == "mean" else 2):
            raise ModelError(
                f"m2tr: frames={frames} is too few for video={video}; vtf was published with "
                "frames=16"
            )
        if depth < 1:
            raise ModelError(f"m2tr: depth {depth} leaves no stage; use 1 to 4")
        if side < 32 or side % 32:
            raise ModelError(
                f"m2tr: side {side} is not a multiple of 32; use 224 (cropped from 240), 256 or 320"
            )
        self.variant, self.side = variant, side
        fit = ("crop" if side <= 240 else "resize") if fit == "auto" else fit
        wanted = band if variant == "dct" and filter == "fixed" else None
        self.spec = ClipSpec(
            "single" if frames == 1 else "sparse",
            frames,
            size=side,
            fit=fit,
            norm="imagenet",
            bands=wanted,
            masks=mask,
        )
        self.backbone = timm.create_model(
            backbone, num_classes=0, drop_path_rate=0.2, bn_momentum=0.01
        )
        tag = "r160_in1k" if backbone == "test_efficientnet" else "ap_in1k"  # AdvProp, as released
        self.pretrained = (Backbone(f"{backbone}.{tag}", "backbone"),)
        channels = self.backbone.feature_info[1]["num_chs"]
        if variant == "fft":
            self.stages = nn.Sequential(
                *(FilterStage(channels, side // 4, wiring) for _ in range(depth))
            )
        else:
            self.bands = (Bands if filter == "fixed" else LearnableBands)(side, band)
            self.fusion = BandFusion(channels)
        self.decoder = MaskDecoder(channels) if mask else None
        self.dropout = nn.Dropout(0.5)
        features = self.backbone.num_features
        self.head = nn.Linear(features, 2) if video == "mean" else None
        self.vtf = VTF(feature=features, frames=frames) if video == "vtf" else None
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMS["imagenet"])
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self.to(memory_format=torch.channels_last)

    def outputs(self, clip: Tensor, bands: Tensor | None = None) -> dict[str, Tensor]:
        """Logits (B, 2), feature (B, D), frame_feature (B, T, D) for VTF, mask logits (B, T, 1, S,
        S) if built in.

        Without `bands` the dct variant makes them from the clip itself, whose own S is then the
        whole picture.
        Raises ModelError for a side the network was not built for.
        """
        self.check(clip, bands)
        frames = clip.shape[1]
        images = clip.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # (B*T, 3, S, S)
        fused = self.fuse(self.texture(images), images, bands)  # (B*T, C, S/4, S/4)
        feature = self.rest(fused).unflatten(0, (-1, frames))  # (B, T, D)
        found = {"feature": feature.mean(1), "frame_feature": feature}
        if self.vtf is None:
            found["logits"] = self.head(self.dropout(found["feature"]))
        else:
            found["logits"] = self.vtf(feature)
        if self.decoder is not None:
            found["mask"] = self.decoder(fused).unflatten(0, (-1, frames))
        return found

    def forward(self, clip: Tensor, bands: Tensor | None = None) -> Tensor:
        return self.outputs(clip, bands)["logits"]

    def texture(self, images: Tensor) -> Tensor:
        """Backbone up to its second stage: (N, 3, S, S) -> (N, C, S/4, S/4)."""
        x = self.backbone.bn1(self.backbone.conv_stem(images))
        return self.backbone.blocks[:2](x)

    def fuse(self, texture: Tensor, images: Tensor, bands: Tensor | None) -> Tensor:
        """The transformer part, of the same shape as the texture map."""
        if self.variant == "fft":
            return self.stages(texture)
        if bands is None or isinstance(self.bands, LearnableBands):
            pictures = self.bands(images.float() * self.std + self.mean)
        else:
            pictures = bands.flatten(0, 1)
        return self.fusion(texture, pictures.contiguous(memory_format=torch.channels_last))

    def rest(self, fused: Tensor) -> Tensor:
        """Backbone from its third stage to the pooled feature, (N, D)."""
        x = self.backbone.conv_head(self.backbone.blocks[2:](fused))
        return self.backbone.global_pool(self.backbone.bn2(x))

    def check(self, clip: Tensor, bands: Tensor | None) -> None:
        """Refuse clips of a shape the network cannot take, in words."""
        if clip.ndim != 5 or clip.shape[2] != 3 or clip.shape[3] != clip.shape[4]:
            raise ModelError(f"m2tr: expected a clip (B, T, 3, S, S), got {tuple(clip.shape)}")
        side = clip.shape[-1]
        bound = self.variant == "fft" or bands is None or isinstance(self.bands, LearnableBands)
        if bound and side != self.side:
            raise ModelError(
                f"m2tr: built for pictures of {self.side} px, got {side} px; build it with "
                f"side={side}"
            )
        if side % 32:
            raise ModelError(
                f"m2tr: side {side} is not a multiple of 32; use 224 (cropped from 240), 256 or 320"
            )
        if bands is not None and bands.shape != (*clip.shape[:2], 9, side, side):
            expected = (*clip.shape[:2], 9, side, side)
            raise ModelError(
                f"m2tr: expected bands {expected} beside this clip, got {tuple(bands.shape)}"
            )

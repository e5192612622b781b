"""vim: Vision Mamba, tokens mixed by selective scans in both directions, on single frames.

Paper: Zhu et al., "Vision Mamba: Efficient Visual Representation Learning with Bidirectional State
Space Model", ICML 2024, https://arxiv.org/abs/2401.09417; as released (github.com/hustvl/Vim,
vim/models_mamba.py and mamba-1p1p1/mamba_ssm/modules/mamba_simple.py). Tensors have the release's
names, so that `--init` takes its files.
Input: (B, T, 3, 224, 224), ImageNet mean and std. T frames are judged alone and their logits
averaged.
Size: tiny 6,955,394 parameters, 1.29 GMACs of layers and 0.17 of scans; small 25,412,354, 4.85 and
0.35; base 96,830,978, 18.77 and 0.70.

Patches of 16 px, ONE class token in the middle of the sequence (place 98 of 197), learned
positions, 24 blocks x + mixer(RMSNorm(x)) with x in float32, RMSNorm, and a linear layer on the
class token. A mixer has a scan for each direction with weights of its own; the backward one reads
the tokens reversed, both outputs are gated by SiLU(z) and averaged.

Decisions: scans run in float32 under mixed precision too (layers/selective_scan.py). As released,
the backward projection to delta begins as any linear layer, with bias zero, where the forward one
begins so that delta is log-uniform in [0.001, 0.1]. No weight decay on A_log, D, positions, class
token and vectors: the paper's intention, of which the released optimizer forgets A_log.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from unmask.models.families import undecayed
from unmask.models.layers.pictures import GRIDS, PictureModel, Thumbnail, picture_spec
from unmask.models.layers.precision import full_precision
from unmask.models.layers.selective_scan import selective_scan
from unmask.models.options import ModelError

WIDTHS = {"tiny": 192, "small": 384, "base": 768}
PATCH, STATE, KERNEL, EXPAND = 16, 16, 4, 2
EPS = 1e-5
DELTA = (1e-3, 1e-1)  # where softplus of the forward projection's bias begins
LEAST_DELTA = 1e-4


class Mixer(nn.Module):
    """(B, L, D) -> the same: each token meets those before it and those after it.

    Names end in `_b` for the backward direction.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        inner, self.rank = EXPAND * width, math.ceil(width / 16)
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        for end in ("", "_b"):
            states = torch.arange(1, STATE + 1, dtype=torch.float32).repeat(inner, 1)
            setattr(self, f"A{end}_log", nn.Parameter(states.log()))  # (I, S)
            setattr(self, f"D{end}", nn.Parameter(torch.ones(inner)))
            conv = nn.Conv1d(inner, inner, KERNEL, groups=inner)
            setattr(self, f"conv1d{end}", conv)
            setattr(self, f"x_proj{end}", nn.Linear(inner, self.rank + 2 * STATE, bias=False))
            setattr(self, f"dt_proj{end}", nn.Linear(self.rank, inner))
        self.out_proj = nn.Linear(inner, width, bias=False)
        self._begin(depth)

    @torch.no_grad()
    def _begin(self, depth: int) -> None:
        nn.init.uniform_(self.dt_proj.weight, -(self.rank**-0.5), self.rank**-0.5)
        low, high = map(math.log, DELTA)
        delta = torch.empty_like(self.dt_proj.bias).uniform_(low, high).exp_()
        delta = delta.clamp_(min=LEAST_DELTA)
        self.dt_proj.bias.copy_(delta + torch.log(-torch.expm1(-delta)))  # softplus's inverse
        nn.init.zeros_(self.dt_proj_b.bias)
        nn.init.kaiming_uniform_(self.out_proj.weight, a=math.sqrt(5))
        self.out_proj.weight /= math.sqrt(depth)

    def _enter(self, x: Tensor, end: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x, delta (B, L, I), B, C (B, L, S) of one direction, float32."""
        conv, to_parts, to_delta = (
            getattr(self, f"{name}{end}") for name in ("conv1d", "x_proj", "dt_proj")
        )
        x = F.pad(x.transpose(1, 2), (KERNEL - 1, 0))  # each token sees itself and those before
        x = F.silu(conv(x)).transpose(1, 2)  # (B, L, I)
        delta, enter, leave = to_parts(x).split([self.rank, STATE, STATE], -1)
        delta = F.linear(delta, to_delta.weight)
        with full_precision(x.device):
            delta = F.softplus(_wide(delta) + to_delta.bias)
        return _wide(x), delta, _wide(enter), _wide(leave)

    def forward(self, tokens: Tensor) -> Tensor:
        x, z = self.in_proj(tokens).chunk(2, -1)  # (B, L, I) twice
        parts = zip(self._enter(x, ""), self._enter(x.flip(1), "_b"), strict=True)
        x, delta, enter, leave = (torch.stack(pair) for pair in parts)
        with full_precision(x.device):
            a = -torch.stack([self.A_log, self.A_b_log]).exp()
            y = selective_scan(x, delta, a, enter, leave)  # (2, B, L, I)
            y = y + torch.stack([self.D, self.D_b])[:, None, None] * x
        forward, backward = y.unbind(0)
        mixed = (forward + backward.flip(1)) / 2 * F.silu(z)
        return self.out_proj(mixed)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Block(nn.Module):
    """x + mixer(RMSNorm(x)); x (B, L, D) stays in float32."""

    def __init__(self, width: int, depth: int, drop_path: float) -> None:
        super().__init__()
        self.mixer = Mixer(width, depth)
        self.norm = nn.RMSNorm(width, eps=EPS)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(self.mixer(self.norm(x)))


class Patches(nn.Module):
    """(N, 3, S, S) -> (N, places, D)."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, PATCH, stride=stride)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.proj(pictures).flatten(2).transpose(1, 2)


class Vim(PictureModel):
    """Vision Mamba with two classes; see the module docstring.

    variant: tiny, small or base.
    size: side of the pictures, px; stride: of the patches (8 published for fine tuning).
    width: channels of a token, 0 those of the variant; blocks: how many.
    thumbnail: 2x2 lays four consecutive frames out as one picture.
    drop_path: stochastic depth, linear in depth.
    """

    name = "vim"
    small: ClassVar[dict[str, object]] = {"width": 32, "blocks": 2, "size": 64}

    def __init__(
        self,
        *,
        variant: Literal["tiny", "small", "base"] = "tiny",
        size: int = 224,
        fit: Literal["crop", "resize"] = "resize",
        stride: Literal[16, 8] = 16,
        width: int = 0,
        blocks: int = 24,
        thumbnail: Thumbnail = "none",
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        if size < 2 * PATCH or size % PATCH:
            raise ModelError(f"vim: size {size} is not a multiple of its patch of {PATCH} px")
        if width < 0 or blocks < 1:
            raise ModelError(f"vim: width={width} and blocks={blocks} leave no network")
        width = width or WIDTHS[variant]
        self.spec = picture_spec("vim", size, fit, "imagenet", thumbnail)
        self.grid = GRIDS[thumbnail]
        self.side = (size - PATCH) // stride + 1
        places = self.side**2
        self.middle = places // 2
        self.patch_embed = Patches(width, stride)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, places + 1, width))
        rates = torch.linspace(0, drop_path, blocks, device="cpu").tolist()
        self.layers = nn.Sequential(*(Block(width, blocks, rate) for rate in rates))
        self.norm_f = nn.RMSNorm(width, eps=EPS)
        self.head = nn.Linear(width, 2)
        self._begin()
        self.extra_tokens = (self.middle,)
        self.no_decay = undecayed(self, ("*A_log", "*A_b_log", "pos_embed", "cls_token"))

    def _begin(self) -> None:
        for tokens in (self.cls_token, self.pos_embed, self.head.weight):
            nn.init.trunc_normal_(tokens, std=0.02)
        inputs = self.patch_embed.proj.weight[0].numel()
        # LeCun's normal, cut at two deviations, which takes 0.88 of the spread
        std = math.sqrt(1 / inputs) / 0.87962566103423978
        nn.init.trunc_normal_(self.patch_embed.proj.weight, std=std, a=-2 * std, b=2 * std)
        nn.init.zeros_(self.patch_embed.proj.bias)
        nn.init.zeros_(self.head.bias)

    def feature_of(self, pictures: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, D): the class token after the last norm."""
        x = self.patch_embed(pictures)
        token = self.cls_token.expand(x.shape[0], -1, -1).to(x.dtype)
        x = torch.cat([x[:, : self.middle], token, x[:, self.middle :]], 1)
        x = self.layers(_wide(x) + self.pos_embed)  # (N, places + 1, D)
        return self.norm_f(x)[:, self.middle]

    def resized(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a network for another side with positions for this one, bicubically."""
        found = dict(tensors)
        theirs = found.get("pos_embed")
        if theirs is None or theirs.ndim != 3 or theirs.shape == self.pos_embed.shape:
            return found
        places = theirs.shape[1] - 1
        side = round(places**0.5)
        if side * side != places:
            return found
        at = places // 2
        grid = torch.cat([theirs[:, :at], theirs[:, at + 1 :]], 1).float()
        grid = grid.transpose(1, 2).unflatten(2, (side, side))  # (1, D, side, side)
        grid = F.interpolate(grid, size=(self.side, self.side), mode="bicubic", antialias=True)
        grid = grid.flatten(2).transpose(1, 2).to(theirs.dtype)
        parts = [grid[:, : self.middle], theirs[:, at : at + 1], grid[:, self.middle :]]
        found["pos_embed"] = torch.cat(parts, 1)
        return found

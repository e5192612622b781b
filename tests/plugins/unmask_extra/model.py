"""A detector in twenty lines: colour statistics of one frame and two layers."""

from typing import ClassVar

from torch import Tensor, nn

from unmask.models.recipes.recipe import Recipe
from unmask.models.spec import ClipSpec


class Tiny(nn.Module):
    """(B, T, 3, S, S) -> 2 logits."""

    line, paper = "colour statistics of one frame", "nobody, 2025"
    small: ClassVar = {"width": 4, "size": 32}
    recipes: ClassVar = {"quick": Recipe(source="ours", lr=1e-2, epochs=2, batch=4)}

    def __init__(self, *, width: int = 16, size: int = 64) -> None:
        super().__init__()
        self.spec = ClipSpec("single", 1, size, fit="resize")
        self.layers = nn.Sequential(nn.Conv2d(3, width, 3, 2), nn.GELU(), nn.AdaptiveAvgPool2d(4))
        self.head = nn.Linear(16 * width, 2)

    def outputs(self, clip: Tensor, bands: Tensor | None = None) -> dict[str, Tensor]:
        """clip: (B, T, 3, S, S)."""
        feature = self.layers(clip.mean(1)).flatten(1)  # (B, 16 width)
        return {"feature": feature, "logits": self.head(feature)}

    def forward(self, clip: Tensor, bands: Tensor | None = None) -> Tensor:
        """(B, 2)."""
        return self.outputs(clip, bands)["logits"]

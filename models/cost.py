"""What a model costs: parameters and multiply-accumulates (MACs) per stage, counted from the
operations it runs.

Every convolution and matrix product of one evaluation pass is counted with torch's flop counter, on
the meta device: shapes are worked out, nothing is computed and no memory is taken. FFTs, norms and
activations are not counted, as usual in the literature. ConvLSTM skips its recurrent convolution on
the zero state; published counts include it (T steps, not T - 1), so what it skips is added here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from unmask.models import create_model
from unmask.models.layers.bands import bands_shape

RUNNING = ("running_mean", "running_var")


@dataclass(frozen=True)
class StageCost:
    """One module: name ("" the whole model), class, parameters, BatchNorm statistics, MACs, shape
    it gives.
    """

    name: str
    kind: str
    parameters: int
    statistics: int
    macs: int
    output: tuple[int, ...]


@dataclass(frozen=True)
class ModelCost:
    """A model's cost for one clip of `clip` = (B, T, 3, H, W); stages in the order of their
    definition.
    """

    clip: tuple[int, ...]
    total: StageCost
    stages: tuple[StageCost, ...]


def measure_cost(
    name: str, depth: int = 1, clip: tuple[int, ...] | None = None, **options: Any
) -> ModelCost:
    """Count a model by name and options on one clip of its own spec, or of shape `clip`.

    depth: how many levels of modules below the model are listed. Raises ModelError as create_model
    does.
    """
    with torch.device("meta"):
        model = create_model(name, **options).eval()
    spec = model.spec
    return count(model, clip or (1, spec.frames, 3, spec.size, spec.size), depth)


class _Tally:
    """Forward hooks that note, for every module called, the shape it gives and the MACs run while
    it ran.
    """

    def __init__(self, model: nn.Module, counter: FlopCounterMode) -> None:
        self.counter = counter
        self.skipped = 0
        self.entered: list[int] = []
        self.macs: Counter[str] = Counter()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.handles = []
        for name, module in model.named_modules():
            self.handles.append(module.register_forward_pre_hook(self.enter))
            self.handles.append(module.register_forward_hook(self.leave(name)))

    def so_far(self) -> int:
        return self.counter.get_total_flops() // 2 + self.skipped

    def enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.entered.append(self.so_far())

    def leave(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if hasattr(module, "skipped_macs"):
                self.skipped += module.skipped_macs(inputs[1], output)
            self.macs[name] += self.so_far() - self.entered.pop()
            self.shapes[name] = _shape(output)

        return hook

    def total(self, name: str, module: nn.Module) -> int:
        """MACs of a module; one that is never called itself, as a ModuleList, has those of its
        children.
        """
        if name in self.macs:
            return self.macs[name]
        start = f"{name}." if name else ""
        return sum(self.total(start + child, part) for child, part in module.named_children())


def count(model: nn.Module, clip: tuple[int, ...], depth: int = 1) -> ModelCost:
    """Count a model that lies on the meta device (or any other: then it really runs once)."""
    device = next(model.parameters()).device
    inputs = [torch.empty(clip, device=device)]
    if model.spec.bands:
        shape = bands_shape(model.spec.bands, clip[-1], model.spec.coefficients)
        inputs.append(torch.empty((*clip[:2], *shape), device=device))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        tally = _Tally(model, counter)
        model(*inputs)
    for handle in tally.handles:
        handle.remove()
    listed = [
        (name, module)
        for name, module in model.named_modules()
        if not name or name.count(".") < depth
    ]
    costs = [_cost(name, module, tally) for name, module in listed]
    return ModelCost(clip, costs[0], tuple(costs[1:]))


def _cost(name: str, module: nn.Module, tally: _Tally) -> StageCost:
    return StageCost(
        name,
        type(module).__name__,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        statistics=sum(
            buffer.numel() for key, buffer in module.named_buffers() if key.endswith(RUNNING)
        ),
        macs=tally.total(name, module),
        output=tally.shapes.get(name, ()),
    )


def _shape(output: Any) -> tuple[int, ...]:
    """Shape of a module's (first) output tensor."""
    if isinstance(output, Tensor):
        return tuple(output.shape)
    if isinstance(output, dict):
        return _shape(output.get("logits"))
    return _shape(output[0]) if isinstance(output, tuple | list) and output else ()

"""What a detector must do to be used like unmask's own: subclass ModelTests.

from unmask.testing.models import ModelTests

class TestTiny(ModelTests):
    model_name = "tiny"
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from unmask.models import create_model, model_class, model_row, resolve_options
from unmask.models.recipes.recipes import get_recipe, list_recipes
from unmask.models.spec import NORMS


def small_options(name: str) -> dict[str, Any]:
    """The options of the class's `small`."""
    cls: Any = model_class(name)
    return dict(cls.small)


def small(name: str) -> Any:
    """The model at its own small options, with the same weights every time."""
    torch.manual_seed(0)
    return create_model(name, **small_options(name))


def clip_for(model: Any, batch: int = 2) -> Tensor:
    """(B, T, 3, S, S) random pixels, normalised as the model's spec asks."""
    torch.manual_seed(1)
    spec = model.spec
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMS[spec.norm])
    return (torch.rand(batch, spec.frames, 3, spec.size, spec.size) - mean) / std


class ModelTests:
    """model_name: what `create_model` takes. The tests use the options of the class's `small`."""

    model_name: ClassVar[str]

    @pytest.fixture(scope="class")
    def name(self) -> str:
        return self.model_name

    @pytest.fixture(scope="class")
    def model(self, name: str) -> Any:
        """One network for the tests that leave it as it is."""
        return small(name).eval()

    def test_outputs_are_finite_and_of_the_promised_shape(self, model: Any) -> None:
        clip = clip_for(model, 3)
        with torch.no_grad():
            found = model.outputs(clip)
            logits = model(clip)
        assert logits.shape == (3, 2) and logits.dtype == torch.float32
        assert found["feature"].shape[0] == 3 and found["feature"].ndim == 2
        assert all(value.isfinite().all() for value in found.values())
        assert torch.equal(found["logits"], logits)

    def test_every_parameter_receives_a_gradient(self, name: str) -> None:
        model = small(name).train()
        torch.nn.functional.cross_entropy(
            model(clip_for(model, 3)), torch.tensor([0, 1, 1])
        ).backward()
        without = [key for key, value in model.named_parameters() if value.grad is None]
        broken = [
            key
            for key, value in model.named_parameters()
            if value.grad is not None and not value.grad.isfinite().all()
        ]
        assert not without and not broken

    def test_each_clip_is_judged_alone(self, model: Any) -> None:
        clip = clip_for(model, 3)
        order = torch.tensor([2, 0, 1])
        with torch.no_grad():
            together, shuffled, alone = model(clip), model(clip[order]), model(clip[1:2])
        torch.testing.assert_close(shuffled, together[order], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone, together[1:2], rtol=1e-4, atol=1e-5)

    def test_clips_that_differ_get_logits_that_differ(self, model: Any) -> None:
        with torch.no_grad():
            logits = model(clip_for(model))
        assert not torch.equal(logits[0], logits[1])

    def test_takes_other_numbers_of_frames(self, model: Any) -> None:
        clip = clip_for(model)
        with torch.no_grad():
            for frames in (1, model.spec.frames + 2):
                more = clip[:, :1].expand(-1, frames, -1, -1, -1)
                assert model(more).isfinite().all()

    def test_evaluation_is_deterministic_and_changes_nothing(self, model: Any) -> None:
        before = {key: value.clone() for key, value in model.state_dict().items()}
        clip = clip_for(model)
        with torch.no_grad():
            assert torch.equal(model(clip), model(clip))
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

    def test_state_dict_goes_round(self, name: str, model: Any) -> None:
        twin = create_model(name, **small_options(name))
        twin.load_state_dict(model.state_dict())
        clip = clip_for(model)
        with torch.no_grad():
            assert torch.equal(model(clip), twin.eval()(clip))

    def test_runs_under_bf16_autocast_near_float32(self, model: Any) -> None:
        clip = clip_for(model)
        with torch.no_grad():
            full = model(clip)
            with torch.autocast("cpu", torch.bfloat16):
                half = model(clip)
        assert half.isfinite().all()
        assert (half.float() - full).abs().max() < 0.05 + 0.1 * full.abs().max()

    def test_trains_under_bf16_autocast(self, name: str) -> None:
        model = small(name).train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(clip_for(model))
        logits.float().square().sum().backward()
        assert all(value.grad.isfinite().all() for value in model.parameters())

    def test_memory_formats_agree(self, name: str, model: Any) -> None:
        plain = (
            create_model(name, **small_options(name))
            .eval()
            .to(memory_format=torch.contiguous_format)
        )
        plain.load_state_dict(model.state_dict())
        clip = clip_for(model)
        with torch.no_grad():
            torch.testing.assert_close(plain(clip), model(clip), rtol=1e-4, atol=1e-5)

    def test_compiles_without_a_graph_break(self, model: Any) -> None:
        clip = clip_for(model)
        torch._dynamo.reset()
        compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
        with torch.no_grad():
            torch.testing.assert_close(compiled(clip), model(clip), rtol=1e-5, atol=1e-6)

    def test_its_row_and_its_recipes_are_complete(self, name: str) -> None:
        row = model_row(name)
        assert row.line and row.paper and row.origin
        assert set(small_options(name)) <= set(resolve_options(name, {}))
        assert all(get_recipe(name, recipe).source for recipe in list_recipes(name))

"""What every detector promises, over list_models(): a new model is tested by being in the table."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from unmask.models import (
    MODELS,
    create_model,
    list_models,
    model_class,
    resolve_options,
    typed_options,
)
from unmask.models.options import ModelError
from unmask.models.recipes.recipes import list_recipes
from unmask.models.spec import NORMS

# the sheets' totals with defaults; a test of its own per model has the stages
PARAMETERS = {"clrnet": 248_107_394, "stil": 22_688_418, "xception_lstm": 135_632_756}


def small(name: str):
    """The model at its own small options, same weights every time."""
    torch.manual_seed(0)
    return create_model(name, **model_class(name).small)


def clip_for(model, batch: int = 2) -> torch.Tensor:
    torch.manual_seed(1)
    spec = model.spec
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMS[spec.norm])
    return (torch.rand(batch, spec.frames, 3, spec.size, spec.size) - mean) / std


@pytest.fixture(scope="module", params=list_models())
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name):
    """One network per model for the tests that leave it as it is."""
    return small(name).eval()


def test_outputs_are_finite_and_of_the_promised_shape(model):
    clip = clip_for(model, 3)
    with torch.no_grad():
        found = model.outputs(clip)
        logits = model(clip)
    assert logits.shape == (3, 2) and logits.dtype == torch.float32
    assert found["feature"].shape[0] == 3 and found["feature"].ndim == 2
    assert all(value.isfinite().all() for value in found.values())
    assert torch.equal(found["logits"], logits)


def test_every_parameter_receives_a_gradient(name):
    model = small(name).train()
    torch.nn.functional.cross_entropy(model(clip_for(model, 3)), torch.tensor([0, 1, 1])).backward()
    without = [key for key, value in model.named_parameters() if value.grad is None]
    broken = [
        key
        for key, value in model.named_parameters()
        if value.grad is not None and not value.grad.isfinite().all()
    ]
    assert not without and not broken


def test_each_clip_is_judged_alone(model):
    clip = clip_for(model, 3)
    order = torch.tensor([2, 0, 1])
    with torch.no_grad():
        together, shuffled, alone = model(clip), model(clip[order]), model(clip[1:2])
    torch.testing.assert_close(shuffled, together[order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone, together[1:2], rtol=1e-4, atol=1e-5)


def test_clips_that_differ_get_logits_that_differ(model):
    with torch.no_grad():
        logits = model(clip_for(model))
    assert not torch.equal(logits[0], logits[1])


def test_takes_other_numbers_of_frames(model):
    clip = clip_for(model)
    with torch.no_grad():
        for frames in (1, model.spec.frames + 2):
            more = clip[:, :1].expand(-1, frames, -1, -1, -1)
            assert model(more).isfinite().all()


def test_evaluation_is_deterministic_and_changes_nothing(model):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    clip = clip_for(model)
    with torch.no_grad():
        assert torch.equal(model(clip), model(clip))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_state_dict_goes_round(name, model):
    twin = create_model(name, **model_class(name).small)
    twin.load_state_dict(model.state_dict())
    clip = clip_for(model)
    with torch.no_grad():
        assert torch.equal(model(clip), twin.eval()(clip))


def test_runs_under_bf16_autocast_near_float32(model):
    clip = clip_for(model)
    with torch.no_grad():
        full = model(clip)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(clip)
    assert half.isfinite().all()
    assert (half.float() - full).abs().max() < 0.05 + 0.1 * full.abs().max()


def test_trains_under_bf16_autocast(name):
    model = small(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(clip_for(model))
    logits.float().square().sum().backward()
    assert all(value.grad.isfinite().all() for value in model.parameters())


def test_memory_formats_agree(name, model):
    plain = (
        create_model(name, **model_class(name).small)
        .eval()
        .to(memory_format=torch.contiguous_format)
    )
    plain.load_state_dict(model.state_dict())
    clip = clip_for(model)
    with torch.no_grad():
        torch.testing.assert_close(plain(clip), model(clip), rtol=1e-4, atol=1e-5)


def test_compiles_without_a_graph_break(model):
    clip = clip_for(model)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    with torch.no_grad():
        torch.testing.assert_close(compiled(clip), model(clip), rtol=1e-5, atol=1e-6)


def test_default_size_is_that_of_the_sheet(name):
    with torch.device("meta"):
        model = create_model(name)
    total = sum(value.numel() for value in model.parameters())
    assert total == PARAMETERS.get(name, total) and total > 1_000_000
    with torch.device("meta"):
        assert (
            sum(v.numel() for v in create_model(name, **model_class(name).small).parameters())
            < total
        )


def test_the_table_and_the_class_agree(name, model):
    assert type(model).__name__ == MODELS[name].cls
    assert MODELS[name].paper and MODELS[name].line
    assert set(model_class(name).small) <= set(resolve_options(name, {}))
    assert list_recipes(name)


def test_importing_the_table_imports_no_torch():
    code = (
        "import sys; from unmask import models; models.list_models(); print('torch' in "
        "sys.modules, 'timm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("clrnett", {}, "no model 'clrnett'; did you mean 'clrnet'?"),
        ("resnet", {}, "no model 'resnet'"),
        ("clrnet", {"widht": 16}, "clrnet has no option 'widht'; did you mean 'width'?"),
        ("clrnet", {"width": "16"}, "clrnet: width='16' is not 64|32|16|8"),
        ("clrnet", {"width": True}, "clrnet: width=True is not 64|32|16|8"),
        ("clrnet", {"frames": 5.0}, "clrnet: frames=5.0 is not whole number"),
        ("clrnet", {"size": True}, "clrnet: size=True is not whole number"),
        ("xception_lstm", {"key_reshape": 1}, "xception_lstm: key_reshape=1 is not yes|no"),
    ],
)
def test_unknown_names_and_values_are_refused_naming_the_nearest(name, options, message):
    with pytest.raises(ModelError) as caught:
        create_model(name, **options)
    assert message in str(caught.value)


def test_words_become_options_of_their_types():
    texts = ["width=16", "bn_momentum=0.1", "norm=imagenet", "frames=3"]
    assert typed_options("clrnet", texts) == {
        "width": 16,
        "bn_momentum": 0.1,
        "norm": "imagenet",
        "frames": 3,
    }
    assert typed_options("xception_lstm", ["key_reshape=yes"]) == {"key_reshape": True}
    for bad in ("width=12", "frames=three", "key", "norm="):
        with pytest.raises(ModelError):
            typed_options("clrnet", [bad])


def test_resolved_options_are_complete_and_rebuild_the_same_network():
    options = resolve_options("clrnet", {"width": 8})
    assert options["width"] == 8 and options["gate_act"] == "hard02"
    with torch.device("meta"):
        one, other = create_model("clrnet", **options), create_model("clrnet", width=8)
    assert one.spec == other.spec
    assert {k: v.shape for k, v in one.state_dict().items()} == {
        k: v.shape for k, v in other.state_dict().items()
    }

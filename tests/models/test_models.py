"""What every detector promises, over list_models(): a new model is tested by being in the table."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from unmask.models import MODELS, create_model, model_class, resolve_options, typed_options
from unmask.models.cost import measure_cost
from unmask.models.options import ModelError
from unmask.testing.models import ModelTests

# the published totals with defaults; a test of its own per model has the stages
PARAMETERS = {
    "clrnet": 248_107_394,
    "stil": 22_688_418,
    "xception_lstm": 135_632_756,
    "dct_cnn": 63_724,
    "vit": 85_800_194,
    "swin": 27_520_892,
    "tall_swin": 86_920_506,
    "vim": 6_955_394,
    # the paper's 27,977 and 28,615, and the second output
    "meso4": 27_977 + 17,
    "mesoinception4": 28_615 + 17,
}


class TestOurModels(ModelTests):
    """Every model of the table: a new one is tested by being there."""

    @pytest.fixture(scope="class", params=list(MODELS))
    def name(self, request: pytest.FixtureRequest) -> str:
        return request.param

    # The two whose 50 and more layers take torch 10 to 20 seconds to read.
    @pytest.mark.parametrize(
        "name",
        [
            pytest.param(n, marks=pytest.mark.slow) if n in ("clrnet", "xception_lstm") else n
            for n in MODELS
        ],
        indirect=True,
    )
    def test_compiles_without_a_graph_break(self, model):
        super().test_compiles_without_a_graph_break(model)


@pytest.mark.parametrize("name", MODELS)
def test_default_size_is_the_published_one(name):
    with torch.device("meta"):
        model = create_model(name)
    total = sum(value.numel() for value in model.parameters())
    assert total == PARAMETERS.get(name, total) and total > 25_000
    with torch.device("meta"):
        assert (
            sum(v.numel() for v in create_model(name, **model_class(name).small).parameters())
            < total
        )


@pytest.mark.parametrize("name", MODELS)
def test_the_table_says_what_is_counted(name):
    row, total = MODELS[name], measure_cost(name).total
    with torch.device("meta"):
        spec = create_model(name).spec
    assert (row.parameters, row.macs, row.spec) == (total.parameters, total.macs, spec)
    assert model_class(name).__name__ == row.cls


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

"""Recipes: the sheets' values, overrides, penalties against their gradient, learning rates over
time.
"""

from __future__ import annotations

import json

import pytest
import torch

from unmask.models import create_model, list_models
from unmask.models.options import ModelError
from unmask.models.recipes.losses import LossSpec
from unmask.models.recipes.optimizers import build_optimizer, lr_factor, parameter_groups
from unmask.models.recipes.recipes import (
    RECIPES,
    as_values,
    get_recipe,
    list_recipes,
    parse_overrides,
)

EVERY = [(model, name) for model in RECIPES for name in RECIPES[model]]


def test_every_model_has_its_papers_recipes_first():
    assert set(RECIPES) == set(list_models())
    assert all(list_recipes(model)[0] == "paper" for model in RECIPES)
    assert list_recipes("stil")[:3] == ["paper", "code", "bench"]
    assert list_recipes("m2tr")[:2] == ["paper", "code"]


def test_values_are_those_of_the_sheets():
    clrnet, xception = get_recipe("clrnet"), get_recipe("xception_lstm")
    assert (clrnet.optimizer, clrnet.lr, clrnet.batch, clrnet.epochs) == ("adam", 5e-5, 16, 300)
    assert (xception.lr, xception.eps, xception.batch, xception.epochs) == (1e-5, 1e-7, 1, 200)
    assert (
        get_recipe("stil", "code").lr == 1e-3 and get_recipe("stil", "bench").weight_decay == 5e-4
    )
    code = get_recipe("m2tr", "code")
    assert (code.optimizer, code.lr, code.weight_decay, code.loss.cls, code.loss.seg) == (
        "sgd",
        5e-4,
        0.01,
        "focal",
        0,
    )
    assert get_recipe("m2tr").loss == LossSpec("cross_entropy", seg=1.0, con=0.001)


@pytest.mark.parametrize(("model", "name"), EVERY)
def test_augmentations_exist(model, name):
    from unmask.pipeline.clips.augment import AUGMENTS

    assert set(RECIPES[model][name].augment) <= set(AUGMENTS)


@pytest.mark.parametrize(("model", "name"), EVERY)
def test_goes_through_json_and_back(model, name):
    values = json.loads(json.dumps(as_values(RECIPES[model][name])))
    other = next(iter(RECIPES["clrnet"]))
    assert get_recipe("clrnet", other, values) == RECIPES[model][name]


def test_every_value_can_be_replaced():
    words = [
        "lr=1e-4",
        "betas=0.8,0.99",
        "loss.seg=0.5",
        "augment=flip,jpeg",
        "steps=[[3, 0.1]]",
        "optimizer=sgd",
        "l2=",
    ]
    recipe = get_recipe("clrnet", "paper", parse_overrides(words))
    assert (recipe.lr, recipe.betas, recipe.loss.seg, recipe.optimizer) == (
        1e-4,
        (0.8, 0.99),
        0.5,
        "sgd",
    )
    assert (recipe.augment, recipe.steps, recipe.l2) == (("flip", "jpeg"), ((3, 0.1),), ())
    assert recipe.epochs == 300 and get_recipe("clrnet").lr == 5e-5
    nested = get_recipe("clrnet", "", {"loss": {"cls": "focal"}}).loss
    assert nested == LossSpec(cls="focal")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lrr=1"], "a recipe has no value 'lrr'; did you mean 'lr'?"),
        (["loss.segg=1"], "a recipe has no value 'loss.segg'; did you mean 'loss.seg'?"),
        (["lr=fast"], "recipe: lr='fast' is not number"),
        (["epochs=2.5"], "recipe: epochs='2.5' is not whole number"),
        (["steps=[[1"], "recipe: steps='[[1' is not"),
        (["lr"], "recipe: 'lr' is not name=value"),
    ],
)
def test_wrong_words_are_refused(words, message):
    with pytest.raises(ModelError) as caught:
        parse_overrides(words)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"optimizer": "lion"},
        {"betas": [0.9]},
        {"lr": "1"},
        {"steps": [[1, 2, 3]]},
        {"augment": "flip"},
        {"loss": 1},
        {"x": 1},
    ],
)
def test_wrong_values_are_refused(values):
    with pytest.raises(ModelError, match=next(iter(values))):
        get_recipe("clrnet", "paper", values)


def test_unknown_recipes_are_refused_naming_what_there_is():
    with pytest.raises(ModelError, match="did you mean 'paper'"):
        get_recipe("stil", "papr")
    with pytest.raises(ModelError, match="no recipes of a model 'resnet'"):
        list_recipes("resnet")


def test_clrnets_penalty_is_on_the_input_kernels_only_and_equals_its_gradient():
    model = create_model("clrnet", width=8)
    groups = parameter_groups(model, get_recipe("clrnet"))
    sizes = {group["weight_decay"]: sum(p.numel() for p in group["params"]) for group in groups}
    kernels = sum(
        p.numel() for name, p in model.named_parameters() if name.endswith("input_kernel")
    )
    assert sizes == {2e-4: kernels, 0.0: sum(p.numel() for p in model.parameters()) - kernels}
    weight = model.stem.conv.input_kernel
    (gradient,) = torch.autograd.grad(1e-4 * weight.square().sum(), weight)
    torch.testing.assert_close(gradient, 2e-4 * weight.detach())


def test_xceptions_penalty_is_on_the_dense_kernels():
    with torch.device("meta"):
        model = create_model("xception_lstm", backbone="efficientnet_b0", filters=32)
    groups = {
        group["weight_decay"]: group["params"]
        for group in parameter_groups(model, get_recipe("xception_lstm"))
    }
    assert {id(p) for p in groups[0.02]} == {id(layer.weight) for layer in model.head.children()}


def test_frozen_parameters_stay_out_and_wrong_patterns_are_named():
    model = create_model("clrnet", width=8)
    model.stem.requires_grad_(False)
    params = [p for group in parameter_groups(model, get_recipe("clrnet")) for p in group["params"]]
    assert all(p.requires_grad for p in params)
    with pytest.raises(ModelError, match="names no parameter"):
        parameter_groups(model, get_recipe("clrnet", "paper", {"l2": [["nothing.*", 1.0]]}))
    with pytest.raises(ModelError, match="adamw"):
        parameter_groups(model, get_recipe("clrnet", "paper", {"optimizer": "adamw"}))


@pytest.mark.parametrize(("model", "name"), EVERY)
def test_optimizers_are_those_of_the_recipe(model, name):
    recipe = RECIPES[model][name]
    with torch.device("meta"):
        network = create_model(model)
    optimizer = build_optimizer(network, recipe)
    assert type(optimizer).__name__.lower() == recipe.optimizer
    assert all(group["lr"] == recipe.lr for group in optimizer.param_groups)
    if recipe.eps:
        assert optimizer.param_groups[0]["eps"] == recipe.eps


def test_learning_rates_over_time():
    code = get_recipe("stil", "code")
    assert [lr_factor(code, epoch) for epoch in (0.25, 1, 5.9, 6, 20.9, 21, 98)] == [
        0.25,
        1,
        1,
        0.1,
        0.1,
        0.05,
        0.05,
    ]
    assert [lr_factor(get_recipe("stil"), epoch) for epoch in (0, 9.9, 10, 20)] == [1, 1, 0.1, 0.01]
    cosine = get_recipe("m2tr", "code")
    reference = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cosine.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(reference, T_max=20, eta_min=1e-6)
    for epoch in range(20):
        assert cosine.lr * lr_factor(cosine, epoch) == pytest.approx(
            reference.param_groups[0]["lr"], rel=1e-6
        )
        reference.step()
        schedule.step()
    assert lr_factor(get_recipe("clrnet"), 299.5) == 1.0

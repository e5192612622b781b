"""Recipes: the published values, overrides, penalties against their gradient, learning rates over
time.
"""

from __future__ import annotations

import json
import math

import pytest
import torch

from unmask.models import create_model, list_models
from unmask.models.options import ModelError
from unmask.models.recipes.losses import LossSpec
from unmask.models.recipes.optimizers import (
    build_optimizer,
    freeze,
    learning_rate,
    lr_factor,
    parameter_groups,
)
from unmask.models.recipes.published import RECIPES
from unmask.models.recipes.recipes import (
    as_values,
    get_recipe,
    list_recipes,
    parse_overrides,
)

EVERY = [(model, name) for model in RECIPES for name in RECIPES[model]]


def test_every_model_has_its_papers_recipes_first():
    assert set(RECIPES) == set(list_models())
    first = {model: list_recipes(model)[0] for model in RECIPES}
    # No paper trains EfficientNet-Lite0 to detect fakes; GenD's is called by its name.
    assert first.pop("lite") == "finetune" and first.pop("encoder") == "gend"
    # Nor do those of Swin and Vision Mamba.
    assert first.pop("swin") == first.pop("vim") == "finetune"
    assert set(first.values()) == {"paper"}
    assert list_recipes("stil")[:3] == ["paper", "code", "bench"]
    assert list_recipes("m2tr")[:2] == ["paper", "code"]


def test_values_are_the_published_ones():
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


def test_an_epoch_of_a_papers_recipe_shows_what_its_release_shows():
    every = {(model, name) for model, name in EVERY if RECIPES[model][name].all_clips}
    assert every == {
        ("clrnet", "paper"),
        ("clrnet", "transfer"),
        ("stil", "bench"),
        ("m2tr", "paper"),
        ("m2tr", "code"),
        ("lite", "finetune"),
        ("encoder", "gend"),
        ("encoder", "pe"),
        ("encoder", "probe"),
        ("vit", "paper"),
        ("vit", "finetune"),
        ("swin", "finetune"),
        ("vim", "finetune"),
        ("meso4", "paper"),
        ("mesoinception4", "paper"),
        ("dct_cnn", "paper"),
    }
    for model in ("clrnet", "m2tr"):
        paper, short = get_recipe(model), get_recipe(model, "short")
        assert get_recipe(model, "short", {"all_clips": True}) == get_recipe(
            model, "paper", {"source": short.source}
        )
        assert paper.epochs == short.epochs


def test_recipes_begin_with_imagenet_weights_where_the_release_does():
    begin = {(model, name) for model, name in EVERY if RECIPES[model][name].pretrained}
    assert begin == {
        ("xception_lstm", "paper"),
        ("stil", "paper"),
        ("stil", "code"),
        ("m2tr", "paper"),
        ("m2tr", "code"),
        ("m2tr", "short"),
        ("lite", "finetune"),
        ("encoder", "gend"),
        ("encoder", "pe"),
        ("encoder", "probe"),
        ("vit", "paper"),
        ("vit", "short"),
        ("vit", "finetune"),
        ("swin", "finetune"),
        ("swin", "short"),
        ("tall_swin", "paper"),
    }


def test_gends_rate_starts_again_twice():
    recipe = get_recipe("encoder", "gend")
    rates = [learning_rate(recipe, step, 10) for step in range(300)]
    assert rates[9] == pytest.approx(3e-4, rel=0.03) and rates[0] == pytest.approx(3e-5)
    for end in (99, 199, 299):
        assert rates[end] == pytest.approx(1e-5)
    for start in (100, 200):
        assert rates[start] == pytest.approx(3e-4, rel=1e-2)
    middle = 1e-5 + (3e-4 - 1e-5) * (1 + math.cos(math.pi * 0.5)) / 2
    assert rates[149] == pytest.approx(middle) and rates[249] == pytest.approx(middle)
    once = get_recipe("encoder", "gend", {"cycles": 1})
    assert learning_rate(once, 299, 10) == pytest.approx(1e-5)
    assert learning_rate(once, 149, 10) == pytest.approx(middle)


def test_the_transformers_recipes_are_those_of_their_sources():
    tall, vit = get_recipe("tall_swin"), get_recipe("vit")
    assert (tall.optimizer, tall.lr, tall.weight_decay) == ("adamw", 1.5e-5, 1e-5)
    assert (tall.epochs, tall.warmup, tall.batch, tall.loss.smoothing) == (60, 10, 4, 0.1)
    assert tall.lr * lr_factor(tall, 60) == pytest.approx(1.5e-7) and tall.augment == ("tall",)
    assert (vit.optimizer, vit.lr, vit.weight_decay, vit.loss.cls) == ("adam", 2e-4, 1e-6, "focal")
    rates = [learning_rate(vit, epoch, 1) for epoch in (0, 5, 10, 15)]
    assert rates == [2e-4, 1e-4, 5e-5, 2.5e-5] and (vit.batch, vit.epochs) == (32, 20)
    swin = get_recipe("swin")
    assert (swin.optimizer, swin.lr, swin.weight_decay, swin.warmup) == ("adamw", 5e-5, 0.05, 2)


def test_no_source_names_a_sheet_that_readers_do_not_have():
    assert not [name for name in EVERY if ".md" in RECIPES[name[0]][name[1]].source]


def keras_layers(model):
    """Names of CLRNet's 207 Keras layers in order, ours without parameters by what they do."""
    layers = ["input", "stem.conv", "stem.norm", "relu", "pool"]
    for stage in range(4):
        for number, block in enumerate(getattr(model, f"stage{stage}")):
            name = f"stage{stage}.{number}"
            layers += [] if block.norm1 is None else [f"{name}.norm1", "relu"]
            layers += [f"{name}.conv1", "dropout", f"{name}.norm2", "relu", f"{name}.conv2"]
            layers += ["dropout", f"{name}.norm3", "relu", f"{name}.conv3"]
            if block.shortcut is not None:
                layers += [f"{name}.shortcut", f"{name}.shortcut_norm"]
            layers += ["sum"]
    return [*layers, "head.norm", "mean", "dropout", "head.fc"]


def test_transfer_trains_the_last_120_of_207_layers():
    model = create_model("clrnet", width=8)
    layers = keras_layers(model)
    assert len(layers) == 207
    frozen = freeze(model, get_recipe("clrnet", "transfer"))
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    last = tuple(name for name in layers[-120:] if "." in name)
    assert learning == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(tuple(f"{n}." for n in last))
    }
    assert model.stage0 in frozen and model.stage1[3].norm2 in frozen
    assert model.stage1[3] not in frozen and model.head not in frozen
    with pytest.raises(ModelError, match=r"trained pattern 'tail\.\*' names no parameter"):
        freeze(model, get_recipe("clrnet", "transfer", {"trained": ["tail.*"]}))


def test_rates_of_step_schedules_change_between_epochs_and_cosine_as_its_recipe_says():
    paper = get_recipe("stil")
    rates = [learning_rate(paper, step, 7) / paper.lr for step in (0, 69, 70, 139, 140)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    code = get_recipe("stil", "code")  # warm-up over the first epoch, step by step
    assert [learning_rate(code, step, 4) / code.lr for step in (0, 1, 3, 4, 23, 24)] == (
        pytest.approx([0.25, 0.5, 1, 1, 1, 0.1])
    )
    cosine = get_recipe("m2tr", "code")
    rates = [learning_rate(cosine, step, 5) for step in range(100)]
    assert [len(set(rates[5 * e : 5 * e + 5])) for e in range(20)] == [1] * 20
    assert rates[0] == cosine.lr and len(set(rates)) == 20
    small = get_recipe("m2tr", "small")
    assert len({learning_rate(small, step, 5) for step in range(100)}) == 100


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

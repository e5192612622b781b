"""Training recipes of the papers as named presets: optimizer, schedule, batch, loss, augmentation;
all overridable.

Values come from section 5 of each model's sheet; `source` says whether code, paper or somebody
else's port stands behind them. A recipe is data; models/recipes/optimizers.py turns it into
parameter groups, an optimizer and learning rates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any, Literal, get_type_hints

from unmask.models import MODELS, list_models, model_class
from unmask.models.options import ModelError, fits, from_text, nearest, type_text
from unmask.models.recipes.losses import LossSpec


@dataclass(frozen=True)
class Recipe:
    """How one model is trained. Epochs may be fractions; lr is the base that `schedule` scales.

    eps 0 keeps the optimizer's own.
    l2: (name pattern of parameters, L2 penalty): lambda * |w|^2 added to the loss, on those
        parameters only, beside weight_decay, which is torch's and on all.
    schedule: constant, cosine (to `floor` * lr over `epochs`) or steps: (epoch from which on,
        factor of lr).
    warmup: epochs of linear rise.
    augment: names of pipeline/clips/augment.py, in order.
    balance: how batches are filled.
    class_weights: balanced weighs the loss by class frequency.
    clip: largest gradient norm, 0 for any.
    """

    source: str
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 0.0
    l2: tuple[tuple[str, float], ...] = ()
    schedule: Literal["constant", "cosine", "steps"] = "constant"
    steps: tuple[tuple[float, float], ...] = ()
    floor: float = 0.0
    warmup: float = 0.0
    epochs: int = 30
    batch: int = 16
    loss: LossSpec = field(default_factory=LossSpec)
    augment: tuple[str, ...] = ()
    balance: Literal["balanced", "paired", "none"] = "balanced"
    class_weights: Literal["none", "balanced"] = "none"
    clip: float = 0.0


# model -> recipe name -> recipe; the first one of a model is its default.
RECIPES: dict[str, dict[str, Recipe]] = {
    "clrnet": {
        "paper": Recipe(
            source="clrnet.md 5, released code; class weights off (batches alternate real and "
            "fake already)",
            lr=5e-5,
            eps=1e-7,
            # the kernels that read the input, not the recurrent ones, not BatchNorm
            l2=(("*.input_kernel", 1e-4),),
            epochs=300,
            batch=16,
            augment=("clrnet",),
        ),
        "small": Recipe(
            source="ours: a narrow network on few videos; the published rate would need 20 times "
            "the steps",
            lr=1e-3,
            l2=(("*.input_kernel", 1e-4),),
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=8,
            augment=("flip",),
        ),
    },
    "xception_lstm": {
        "paper": Recipe(
            source="xception_convlstm.md 5, released code; batch 1 video",
            lr=1e-5,
            eps=1e-7,
            l2=(("head.dense*.weight", 0.01),),
            epochs=200,
            batch=1,
            augment=("xception_lstm",),
            # batches of one video cannot hold both classes
            balance="none",
        ),
        "small": Recipe(
            source="ours: few videos on a small machine, several videos in a batch",
            lr=3e-4,
            weight_decay=1e-5,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=8,
            augment=("flip",),
        ),
    },
    "stil": {
        "paper": Recipe(
            source="stil.md 5, paper as recalled: /10 every 10 epochs",
            lr=1e-4,
            schedule="steps",
            steps=((10, 0.1), (20, 0.01)),
            epochs=30,
            batch=16,
            augment=("stil",),
        ),
        "code": Recipe(
            source="stil.md 5, released configuration, made for 8 devices of batch 10",
            lr=1e-3,
            weight_decay=1e-5,
            schedule="steps",
            steps=((6, 0.1), (21, 0.05)),
            warmup=1.0,
            epochs=99,
            batch=80,
            augment=("stil",),
        ),
        "bench": Recipe(
            source="stil.md 5, a public benchmark's port (its mean and std of 0.5 are not taken "
            "over)",
            lr=2e-4,
            weight_decay=5e-4,
            epochs=10,
            batch=8,
            augment=("flip",),
        ),
        "small": Recipe(
            source="ours: few videos on a small machine",
            lr=1e-3,
            weight_decay=1e-5,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=8,
            augment=("flip", "reverse"),
        ),
    },
    "m2tr": {
        "paper": Recipe(
            source="m2tr.md 5, paper as recalled; it gives no period for its step decay, every "
            "30 epochs is ours",
            lr=1e-4,
            weight_decay=1e-5,
            schedule="steps",
            steps=((30, 0.1), (60, 0.01)),
            epochs=90,
            batch=24,
            loss=LossSpec(cls="cross_entropy", seg=1.0, con=0.001),
            augment=("m2tr",),
        ),
        "code": Recipe(
            source="m2tr.md 5, released configuration, made for 8 devices of batch 8; "
            "classification loss only",
            optimizer="sgd",
            lr=5e-4,
            momentum=0.9,
            weight_decay=0.01,
            schedule="cosine",
            floor=1e-6 / 5e-4,
            epochs=20,
            batch=64,
            loss=LossSpec(cls="focal", alpha=1.0, gamma=2.0),
            augment=("m2tr",),
        ),
        "small": Recipe(
            source="ours: few videos on a small machine, no masks",
            lr=5e-4,
            weight_decay=1e-5,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=16,
            loss=LossSpec(cls="focal"),
            augment=("flip",),
        ),
    },
}


# For a model of somebody's package that brings none of its own.
PLAIN = Recipe(
    source="unmask's, for models that bring none", lr=1e-4, schedule="cosine", augment=("flip",)
)


def recipes_of(model: str) -> Mapping[str, Recipe]:
    """Recipe name -> recipe of a model, its default first; of somebody's package its class's
    `recipes`, else one plain recipe.

    Raises ModelError for an unknown model.
    """
    if model in RECIPES:
        return RECIPES[model]
    if model not in list_models() or model in MODELS:
        raise ModelError(f"no recipes of a model '{model}'{nearest(model, list_models())}")
    recipes = getattr(model_class(model), "recipes", None) or {"plain": PLAIN}
    good = isinstance(recipes, Mapping) and all(isinstance(r, Recipe) for r in recipes.values())
    if not good:
        raise ModelError(f"{model}: its `recipes` are not names with a Recipe each")
    return recipes


def list_recipes(model: str) -> list[str]:
    """Names of a model's recipes, its default first. Raises ModelError for an unknown model."""
    return list(recipes_of(model))


def get_recipe(model: str, name: str = "", overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A model's recipe by name, "" for its default, with some values replaced: {"lr": 1e-4,
    "loss.seg": 0.0}.

    Raises ModelError for an unknown recipe or value, naming the nearest, or a value of another
    type.
    """
    names = list_recipes(model)
    name = name or names[0]
    if name not in names:
        raise ModelError(f"{model} has no recipe '{name}'{nearest(name, names)}")
    recipe = recipes_of(model)[name]
    for key, value in (overrides or {}).items():
        recipe = _set(recipe, key, value, key)
    return recipe


def recipe_fields(recipe: Any = Recipe) -> dict[str, Any]:
    """Every value's dotted name and type, as overrides name them."""
    types: dict[str, Any] = {}
    for name, kind in get_type_hints(recipe).items():
        if is_dataclass(kind):
            types |= {f"{name}.{inner}": of for inner, of in recipe_fields(kind).items()}
        else:
            types[name] = kind
    return types


def parse_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """`["lr=1e-4", "loss.seg=0", "augment=flip,jpeg", "steps=[[10, 0.1]]"]` -> typed values.
    Raises ModelError.
    """
    types, values = recipe_fields(), {}
    for text in texts:
        name, equals, word = text.partition("=")
        if not equals:
            raise ModelError(f"recipe: '{text}' is not name=value")
        if name not in types:
            raise ModelError(f"a recipe has no value '{name}'{nearest(name, types)}")
        try:
            values[name] = from_text(word, types[name])
        except ValueError:
            raise ModelError(
                f"recipe: {name}={word!r:.80} is not {type_text(types[name])}"
            ) from None
    return values


def as_values(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON values, nested as in the class: what run.json keeps, and get_recipe
    takes back.
    """
    return asdict(recipe)


def _set(part: Any, key: str, value: Any, full: str) -> Any:
    """A copy of a dataclass with the value at a dotted name replaced; a dict replaces the values
    it names.
    """
    name, _, rest = key.partition(".")
    kind = get_type_hints(type(part)).get(name)
    if kind is None or (rest and not is_dataclass(kind)):
        raise ModelError(f"a recipe has no value '{full}'{nearest(full, recipe_fields())}")
    if is_dataclass(kind):
        inner = getattr(part, name)
        if not rest and not isinstance(value, Mapping):
            raise ModelError(
                f"recipe: {full}={value!r:.80} is not a set of values; name one, {full}.cls"
            )
        for word, number in ({rest: value} if rest else value).items():
            inner = _set(inner, word, number, f"{name}.{word}")
        return replace(part, **{name: inner})
    if not fits(value, kind):
        raise ModelError(f"recipe: {full}={value!r:.80} is not {type_text(kind)}")
    return replace(part, **{name: _tupled(value)})


def _tupled(value: Any) -> Any:
    """JSON's lists as tuples."""
    return tuple(_tupled(item) for item in value) if isinstance(value, list | tuple) else value

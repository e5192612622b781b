"""Training recipes of the papers as named presets, all overridable.

`source` says whether code, paper or somebody else's port stands behind the values (published.py). A
recipe is data (recipe.py); optimizers.py beside this file makes parameter groups, optimizer and
learning rates of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass, replace
from typing import Any, get_type_hints

from unmask.models import MODELS, list_models, model_class
from unmask.models.options import ModelError, fits, from_text, nearest, type_text
from unmask.models.recipes.blends import REAL_ONLY
from unmask.models.recipes.published import RECIPE_OPTIONS, RECIPES
from unmask.models.recipes.recipe import Recipe

# For a model of somebody's package that brings none of its own.
PLAIN = Recipe(
    source="unmask's, for models that bring none", lr=1e-4, schedule="cosine", augment=("flip",)
)


def real_only(base: Recipe, **changes: Any) -> Recipe:
    """A recipe's twin that trains on real footage only (blends.py), with other values replaced.

    The optimizer and its schedule stay the base's: the published one (SGD 1e-3 with sam, 100 epochs
    of an EfficientNet) is `--set optimizer=sam`.
    """
    source = "ours: trained on real footage only (Shiohara and Yamasaki 2022), all else as in: "
    batch = max(2, base.batch)  # a pair is never parted
    return replace(base, **{"source": source + base.source, "batch": batch, **REAL_ONLY, **changes})


def recipes_of(model: str) -> Mapping[str, Recipe]:
    """Recipe name -> recipe of a model, its default first; of somebody's package its class's
    `recipes`, else one plain recipe. Every model has `real_only`, its own or its default's twin.

    Raises ModelError for an unknown model.
    """
    own = _own_recipes(model)
    return own if "real_only" in own else {**own, "real_only": real_only(next(iter(own.values())))}


def _own_recipes(model: str) -> Mapping[str, Recipe]:
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


def recipe_options(model: str, name: str) -> dict[str, Any]:
    """The model's options that belong to a recipe and are not the model's defaults; a twin on real
    footage has those of the recipe it is made of.
    """
    own = _own_recipes(model)
    made_of = name if name in own else next(iter(own))
    return dict(RECIPE_OPTIONS.get((model, made_of), {}))


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

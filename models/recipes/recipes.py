"""Training recipes of the papers as named presets: optimizer, schedule, batch, loss, augmentation;
all overridable.

`source` says whether code, paper or somebody else's port stands behind the values. A recipe is
data; optimizers.py beside this file makes parameter groups, optimizer and learning rates of it.

Released code, repository, file and commit:
    CLRNet        github.com/shahroztariq/CLRNet, src/DFVDSequence.py (4701d86) and the notebooks
                  src/CLRNET_train_*.ipynb (c2e8965), src/CLRNET_transfer_*_train.ipynb (6567e94)
    STIL          github.com/Tencent/TFace, security/tasks/Face-Forgery-Detection/STIL/, its
                  configs/ffpp.yaml and datasets/video_dataset.py (9004edb)
    STIL, ported  github.com/SCLBD/DeepfakeBench, training/config/detector/stil.yaml (64366cf)
    M2TR          github.com/wdrink/PyDeepFakeDet, configs/m2tr.yaml, and in PyDeepFakeDet/
                  datasets/utils.py and utils/loss.py (f78ab76)
    Xception-LSTM the Keras code that its authors released in June 2022 (one commit)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from typing import Any, Literal, get_type_hints

from unmask.models import MODELS, list_models, model_class
from unmask.models.options import ModelError, fits, from_text, nearest, type_text
from unmask.models.recipes.blends import REAL_ONLY, BlendSpec
from unmask.models.recipes.losses import LossSpec


@dataclass(frozen=True)
class Recipe:
    """How one model is trained; epochs of warm-up and of `steps` may be fractions.

    source: where the values come from.
    lr: the base that `schedule` scales.
    eps: of Adam, 0 for the optimizer's own.
    momentum: of SGD, also inside sam: Foret et al. 2021, arXiv 2010.01412, which steps with the
        gradient taken at the worst point within rho.
    rho: of sam.
    weight_decay: torch's, on all parameters.
    l2: (name pattern of parameters, L2 penalty): lambda * |w|^2 added to the loss, on those
        parameters only, beside weight_decay.
    schedule: constant, cosine (to `floor` * lr over `epochs`) or steps.
    anneal: cosine moves at every step, or once an epoch.
    steps: (epoch from which on, factor of lr) of the schedule steps.
    warmup: epochs of linear rise.
    batch: samples in a step over all processes.
    all_clips: an epoch shows every cached clip of every video (of a model on single pictures every
        cached frame), not one of each video.
    augment: names of pipeline/clips/augment.py, in order.
    balance: how batches are filled; self reads the reals only, each beside a fake made of it.
    blend: how that fake is made.
    val_fakes: with balance self, what validation tells apart: fakes made of the validation reals,
        or the genuine ones of its manifest.
    class_weights: balanced weighs the loss by class frequency.
    clip: largest gradient norm, 0 for any.
    pretrained: starts from ImageNet weights.
    trained: name patterns of the parameters that learn, () for all; the rest is frozen.
    """

    source: str
    optimizer: Literal["adam", "adamw", "sgd", "sam"] = "adam"
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 0.0
    momentum: float = 0.9
    rho: float = 0.05
    weight_decay: float = 0.0
    l2: tuple[tuple[str, float], ...] = ()
    schedule: Literal["constant", "cosine", "steps"] = "constant"
    anneal: Literal["step", "epoch"] = "step"
    steps: tuple[tuple[float, float], ...] = ()
    floor: float = 0.0
    warmup: float = 0.0
    epochs: int = 30
    batch: int = 16
    all_clips: bool = False
    loss: LossSpec = field(default_factory=LossSpec)
    augment: tuple[str, ...] = ()
    balance: Literal["balanced", "paired", "none", "self"] = "balanced"
    blend: BlendSpec = field(default_factory=BlendSpec)
    val_fakes: Literal["self", "manifest"] = "self"
    class_weights: Literal["none", "balanced"] = "none"
    clip: float = 0.0
    pretrained: bool = False
    trained: tuple[str, ...] = ()


# The last 120 of CLRNet's 207 Keras layers: head 4, stage 3 with 38, stage 2 with 74, and the last
# four of stage 1 (BatchNorm, ReLU, ConvLSTM, sum).
CLRNET_LAST_120 = ("stage1.3.norm3.*", "stage1.3.conv3.*", "stage2.*", "stage3.*", "head.*")

# model -> recipe name -> recipe; the first one of a model is its default.
RECIPES: dict[str, dict[str, Recipe]] = {
    "clrnet": {
        "paper": Recipe(
            source="Tariq et al. 2021, released notebooks; an epoch is every clip of every video; "
            "class weights off (batches alternate real and fake already)",
            lr=5e-5,
            eps=1e-7,
            # the kernels that read the input, not the recurrent ones, not BatchNorm
            l2=(("*.input_kernel", 1e-4),),
            epochs=300,
            batch=16,
            all_clips=True,
            augment=("clrnet",),
        ),
        "short": Recipe(
            source="ours: the paper's with one clip of each video in an epoch, 1/16 of the steps",
            lr=5e-5,
            eps=1e-7,
            l2=(("*.input_kernel", 1e-4),),
            epochs=300,
            batch=16,
            augment=("clrnet",),
        ),
        "transfer": Recipe(
            source="Tariq et al. 2021, released transfer notebooks: the last 120 of 207 layers "
            "learn; start from a trained network with --init; frozen layers here work as in "
            "evaluation (Keras keeps their dropout)",
            lr=5e-5,
            eps=1e-7,
            l2=(("*.input_kernel", 1e-4),),
            epochs=150,
            batch=16,
            all_clips=True,
            augment=("clrnet",),
            trained=CLRNET_LAST_120,
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
            source="Chen et al. 2022, released code; batch 1 video, one sample of it in an epoch",
            lr=1e-5,
            eps=1e-7,
            l2=(("head.dense*.weight", 0.01),),
            epochs=200,
            batch=1,
            augment=("xception_lstm",),
            # batches of one video cannot hold both classes
            balance="none",
            pretrained=True,
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
            source="Gu et al. 2021, section 4.1, as recalled: /10 every 10 epochs",
            lr=1e-4,
            schedule="steps",
            steps=((10, 0.1), (20, 0.01)),
            epochs=30,
            batch=16,
            augment=("stil",),
            pretrained=True,
        ),
        "code": Recipe(
            source="released configs/ffpp.yaml, made for 8 devices of batch 10",
            lr=1e-3,
            weight_decay=1e-5,
            schedule="steps",
            steps=((6, 0.1), (21, 0.05)),
            warmup=1.0,
            epochs=99,
            batch=80,
            augment=("stil",),
            pretrained=True,
        ),
        "bench": Recipe(
            source="DeepfakeBench's port: random weights, 4 clips of a video in an epoch (here all "
            "that there are); its mean and std of 0.5 are not taken over",
            lr=2e-4,
            weight_decay=5e-4,
            epochs=10,
            batch=8,
            all_clips=True,
            augment=("deepfakebench",),
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
            source="Wang et al. 2022, section 4, as recalled; it gives no period for its step "
            "decay, every 30 epochs is ours; an epoch is every cached frame (theirs: 128 of a "
            "video)",
            lr=1e-4,
            weight_decay=1e-5,
            schedule="steps",
            steps=((30, 0.1), (60, 0.01)),
            epochs=90,
            batch=24,
            all_clips=True,
            loss=LossSpec(cls="cross_entropy", seg=1.0, con=0.001),
            augment=("m2tr",),
            pretrained=True,
        ),
        "code": Recipe(
            source="released configs/m2tr.yaml, made for 8 devices of batch 8; classification loss "
            "only; an epoch is every cached frame (theirs: 128 of a video)",
            optimizer="sgd",
            lr=5e-4,
            momentum=0.9,
            weight_decay=0.01,
            schedule="cosine",
            anneal="epoch",
            floor=1e-6 / 5e-4,
            epochs=20,
            batch=64,
            all_clips=True,
            loss=LossSpec(cls="focal", alpha=1.0, gamma=2.0),
            augment=("m2tr",),
            pretrained=True,
        ),
        "short": Recipe(
            source="ours: the paper's with one frame of each video in an epoch",
            lr=1e-4,
            weight_decay=1e-5,
            schedule="steps",
            steps=((30, 0.1), (60, 0.01)),
            epochs=90,
            batch=24,
            loss=LossSpec(cls="cross_entropy", seg=1.0, con=0.001),
            augment=("m2tr",),
            pretrained=True,
        ),
        "vtf": Recipe(
            source="Wang et al., arXiv 2104.09770, section 3.4: video transformer on a frozen "
            "M2TR; nothing but the input is published, the other values are ours; with --option "
            "video=vtf --option frames=16 and --init a trained M2TR",
            lr=1e-4,
            weight_decay=1e-5,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=8,
            augment=("flip",),
            trained=("vtf.*",),
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
    "lite": {
        "finetune": Recipe(
            source="ours: ImageNet weights, few epochs; every cached frame, compressed again so "
            "that it is not the file's quality that is learnt",
            optimizer="adamw",
            lr=3e-4,
            weight_decay=1e-2,
            schedule="cosine",
            warmup=0.5,
            epochs=10,
            batch=32,
            all_clips=True,
            augment=("flip", "jpeg"),
            pretrained=True,
        ),
        "small": Recipe(
            source="ours: few videos on a small machine",
            lr=1e-3,
            weight_decay=1e-5,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=16,
            augment=("flip",),
        ),
    },
    "encoder": {
        "norms": Recipe(
            source="Yermakov et al. 2026, the form without its two losses on the feature (of its "
            "PE-Core encoder): LayerNorms and head learn, one epoch of warm-up, cosine; its flip "
            "and JPEG of the augmentation",
            optimizer="adamw",
            lr=3e-4,
            schedule="cosine",
            floor=1e-5 / 3e-4,
            warmup=1.0,
            epochs=30,
            batch=128,
            all_clips=True,
            balance="paired",
            augment=("flip", "jpeg"),
            pretrained=True,
            trained=("*norm*", "head.*"),
        ),
        "small": Recipe(
            source="ours: few videos on a small machine, everything learns",
            lr=3e-4,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=8,
            augment=("flip",),
        ),
    },
    # the same two for both, so that they can be compared
    **{
        name: {
            "paper": Recipe(
                source="Afchar et al. 2018, section 4: Adam 1e-3 divided by ten every thousand "
                "steps down to 1e-6, here every two epochs; batch 75; its zoom, rotation and hue "
                "are taken from CLRNet's",
                lr=1e-3,
                schedule="steps",
                steps=((2, 0.1), (4, 0.01), (6, 0.001)),
                epochs=8,
                batch=75,
                all_clips=True,
                augment=("clrnet",),
            ),
            "small": Recipe(
                source="ours: few videos on a small machine",
                lr=1e-3,
                schedule="cosine",
                warmup=0.5,
                epochs=30,
                batch=8,
                augment=("flip",),
            ),
        }
        for name in ("meso4", "mesoinception4")
    },
    "dct_cnn": {
        "paper": Recipe(
            source="Frank et al. 2020, github.com/RUB-SysSec/GANDCTAnalysis, commit 44eb57c, "
            "classifer.py: Adam 1e-3, batch 32, at most 50 epochs and a patience of 5 (--patience)",
            lr=1e-3,
            epochs=50,
            batch=32,
        ),
        "small": Recipe(
            source="ours: few videos on a small machine",
            lr=1e-3,
            schedule="cosine",
            warmup=0.5,
            epochs=30,
            batch=8,
        ),
    },
}


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

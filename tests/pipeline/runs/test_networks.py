"""What a recipe says of its network is what is built, on a cache as extract makes it by default."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
import torch

from tests.support.tiny_cache import make_cache
from unmask.commands.main import main
from unmask.models import create_model, list_models, model_class, model_row
from unmask.models.options import option_defaults
from unmask.models.recipes.published import RECIPES
from unmask.models.recipes.recipes import get_recipe, list_recipes
from unmask.models.spec import ClipSpec
from unmask.pipeline.clips.batches import batches
from unmask.pipeline.clips.plans import training_plan
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import CropConfig, TrainConfig
from unmask.pipeline.runs.networks import resolve


@pytest.fixture(scope="module")
def default_cache(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One real and its fake as extract stores them when nothing is asked for: (cache, manifest)."""
    usual = CropConfig()
    assert usual.bands and (usual.clips, usual.frames, usual.size) == (16, 5, 240)
    root = tmp_path_factory.mktemp("usual")
    cache, lists = make_cache(root, {"train": 1}, clips=16, frames=5, side=240)
    return cache, lists / "train.txt"


# Made in a tenth of the time, and no clip depends on it.
LIGHTER = {"m2tr": {"backbone": "test_efficientnet"}}


def spec_of(model: str, recipe: str) -> ClipSpec:
    """Of the network in its published size, of which only the shapes are made, and that only where
    its options are not the model's defaults.
    """
    options = resolve(TrainConfig(model=model, recipe=recipe)).options
    row = model_row(model)
    usual, fitting = option_defaults(model_class(model)), {}
    if RECIPES[model].get(recipe, next(iter(RECIPES[model].values()))).pretrained:
        fitting = getattr(
            model_class(model), "pretrained_options", {}
        )  # padding: nothing of a spec
    if row.spec is not None and options == {**usual, **fitting}:
        return row.spec
    return _spec_of(model, json.dumps({**options, **LIGHTER.get(model, {})}))


@functools.cache
def _spec_of(model: str, options: str) -> ClipSpec:
    with torch.device("meta"):
        return create_model(model, **json.loads(options)).spec


@pytest.mark.parametrize("model", list_models())
def test_every_recipe_finds_its_clips_in_a_cache_as_extract_makes_it(
    model: str, default_cache: tuple[Path, Path]
) -> None:
    cache, manifest = default_cache
    for spec in {spec_of(model, recipe) for recipe in list_recipes(model)}:
        source = ClipSource(manifest, cache, spec)
        picked = source.evaluation_samples()[:1]
        (raw,) = batches(source, [picked])
        batch = prepare(raw, spec, torch.device("cpu"))
        side = spec.size if batch.pixels is not None else spec.size // 2
        seen = batch.pixels if batch.pixels is not None else batch.bands
        assert seen is not None and seen.shape == (1, spec.frames, 3, side, side)


# One sample is one clip or frame; the cache has 16 clips of 5 frames of each of two videos.
SHOWN = {
    ("clrnet", "paper"): 16,
    ("clrnet", "short"): 1,
    ("stil", "paper"): 1,
    ("xception_lstm", "paper"): 1,
    ("m2tr", "paper"): 80,
    ("m2tr", "code"): 80,
    ("m2tr", "short"): 1,
    ("vit", "paper"): 80,
    ("tall_swin", "paper"): 1,  # eight runs of one video are one sample
    ("meso4", "paper"): 80,
    ("mesoinception4", "paper"): 80,
    ("dct_cnn", "paper"): 80,
    ("encoder", "gend"): 80,
}


@pytest.mark.parametrize(("model", "name"), SHOWN)
def test_an_epoch_shows_as_much_of_a_video_as_the_release_does(model: str, name: str) -> None:
    recipe = get_recipe(model, name)
    plan = training_plan(
        spec_of(model, name),
        torch.tensor([0, 1]).numpy(),
        [None, 0],
        [(16, 5)] * 2,
        batch=recipe.batch,
        seed=1,
        epoch=0,
        balance=recipe.balance,
        all_clips=recipe.all_clips,
    )
    samples = [sample for batch in plan for sample in batch]
    for video in (0, 1):
        mine = [sample.picks for sample in samples if sample.video == video]
        assert len(mine) == SHOWN[model, name]
        assert len({repr(picks) for picks in mine}) == len(mine), "each clip or frame once"


def test_options_that_belong_to_a_recipe_come_with_it_and_give_way() -> None:
    def options(model: str, recipe: str, **given: object) -> dict[str, object]:
        return dict(resolve(TrainConfig(model=model, recipe=recipe, options=given)).options)

    assert options("vit", "")["size"] == options("vit", "real_only")["size"] == 384
    assert options("vit", "finetune")["size"] == 0, "that of the weights"
    assert options("vit", "paper", size=224)["size"] == 224
    assert options("m2tr", "vtf")["frames"] == 16 and options("m2tr", "vtf")["video"] == "vtf"
    assert options("encoder", "pe")["backbone"] == "pe-core-l"
    assert options("encoder", "gend")["backbone"] != "pe-core-l"
    assert options("encoder", "probe")["tune"] == "none"


@pytest.mark.parametrize(
    ("words", "random"),
    [
        (["--model", "clrnet", "--recipe", "transfer", "--option", "width=8"], True),
        (["--model", "encoder", "--recipe", "small", "--option", "tune=norm"], True),
        (["--model", "encoder", "--recipe", "small"], False),
    ],
)
def test_a_frozen_part_must_know_something(
    words: list[str], random: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What learns would learn on noise, and the run would look like any other."""
    cache, lists = make_cache(tmp_path, {"train": 1}, clips=2, frames=5, side=64)
    if "encoder" in words:
        words = [*words, "--option", "backbone=test_vit.r160_in1k", "--option", "size=64"]
    else:
        words = [*words, "--option", "size=32", "--option", "frames=3"]
    places = ["--manifest", str(lists / "train.txt"), "--cache", str(cache)]
    places += ["--device", "cpu", "--steps", "1", "--no-tensorboard"]
    code = main(["train", *words, *places, "--run", str(tmp_path / "run")])
    said = capsys.readouterr().err.strip().splitlines()
    assert code == (2 if random else 0), said
    if random:
        assert "do not learn" in said[-1] and "--init FILE" in said[-1]
        assert not (tmp_path / "run").exists()
        words = [*words, "--from-scratch", *places, "--run", str(tmp_path / "asked")]
        assert main(["train", *words]) == 0

"""A training on real footage only: what it reads, what it says of itself, and that stopping it
changes nothing; sam, which its paper trains with.
"""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.pipeline.training.test_loop import PROCESSES, curve, free_port, frozen_norms, one_of_two
from tests.support.tiny_cache import KEY, make_cache
from unmask.models import list_models, model_class
from unmask.models.recipes.optimizers import build_optimizer, climb, go_back
from unmask.models.recipes.recipes import get_recipe
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import ManifestError, UsageError
from unmask.pipeline.evaluation.admission import Allowed, admit
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.prediction.trust import doubts_about_model
from unmask.pipeline.records import REAL, Entry
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.provenance import known_of, run_facts
from unmask.pipeline.runs.run_folder import load_model, open_run
from unmask.pipeline.scores.calibration import DEFAULT
from unmask.pipeline.training.fabric import build_fabric
from unmask.pipeline.training.setup import build_setup
from unmask.pipeline.training.train import train

DCT_CNN = {"model": "dct_cnn", "options": {"side": 48}}
M2TR = {"model": "m2tr", "options": {"backbone": "test_efficientnet", "side": 32, "depth": 1}}
SAYS = "rained on real footage only; finds composited faces, not wholly generated ones"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A cache whose fakes are all damaged."""
    cache, manifests = make_cache(
        tmp_path_factory.mktemp("train"), {"train": 4, "val": 2}, frames=2, side=48
    )
    for folder in (cache / "tiny" / KEY).glob("f*"):
        for path in folder.rglob("*.json"):
            path.write_bytes(b"\xff")
    return cache, manifests


def config(tiny, kind=DCT_CNN, **changes):
    overrides = {"epochs": 2, "batch": 4, "lr": 1e-3} | changes.pop("overrides", {})
    base = TrainConfig(
        manifest=str(tiny[1] / "train.txt"),
        val=str(tiny[1] / "val.txt"),
        cache=str(tiny[0]),
        recipe="real_only",
        checkpoint_steps=1,
        val_clips=2,
        tensorboard=False,
        device="cpu",
        overrides=overrides,
        from_scratch=True,
        **kind,
    )
    return replace(base, **changes)


def weights(run):
    return checkpoint.newest(run).model


def curves(run):
    return (run / "metrics.jsonl").read_text()


@pytest.fixture(scope="module")
def trained(tiny, tmp_path_factory):
    return train(config(tiny), run=tmp_path_factory.mktemp("run") / "whole").run


def test_a_damaged_fake_does_no_harm_and_run_json_says_what_was_read(tiny, trained):
    document = json.loads((trained / "run.json").read_text())
    assert (document["fakes"], document["val_fakes"]) == ("self", "self")
    manifest = document["manifest"]
    assert (manifest["videos"], manifest["real"], manifest["left_out"]) == (4, 4, 4)
    assert manifest["blend"]["kinds"] == ["oval", "brows", "inner", "lower"]
    assert manifest["blend"]["version"] == 1 and document["val"]["left_out"] == 2
    epochs = [json.loads(line) for line in curves(trained).splitlines()]
    assert all(0 <= line["auc"] <= 1 for line in epochs if line["kind"] == "epoch")


@pytest.mark.parametrize("optimizer, accumulate", [("adam", 1), ("sam", 2)])
def test_stopped_and_resumed_it_ends_in_the_same_weights(tiny, tmp_path, optimizer, accumulate):
    settings = config(tiny, overrides={"optimizer": optimizer}, accumulate=accumulate, val="")
    whole = train(settings, run=tmp_path / "whole").run

    def stop(live):
        if live.step in (1, 3):  # in the middle of the first epoch, and of the second
            os.kill(os.getpid(), signal.SIGTERM)

    parted = tmp_path / "parted"
    codes = [
        train(settings, run=parted, resume=resume, report=stop).exit_code
        for resume in (False, True, True)
    ]
    assert codes == [143, 143, 0] and curves(parted) == curves(whole)
    one, other = weights(whole), weights(parted)
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def long_clips(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("long"), {"train": 2}, clips=4, frames=5, side=112)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "xception_lstm" else name
        for name in list_models()
    ],
)
def test_every_model_takes_a_step_of_sam_on_pairs_made_of_reals(long_clips, tmp_path, name):
    kind = {"model": name, "options": dict(model_class(name).small)}
    overrides = {"optimizer": "sam", "epochs": 1, "batch": 2}
    settings = config(long_clips, kind, overrides=overrides, steps=1, val="")
    start = build_setup(settings, build_fabric(settings)).network.state_dict()
    run = train(settings, run=tmp_path / "run").run
    assert open_run(run).document["manifest"]["left_out"] == 2
    assert np.isfinite(curve(run)).all()
    ended = weights(run)
    learnt = [name for name, value in ended.items() if value.is_floating_point()]
    assert any(not torch.equal(ended[name], start[name]) for name in learnt)


@pytest.mark.slow
def test_two_processes_climb_together(tiny, tmp_path):
    """Whole pairs on each, and the worst point is that of the whole batch, not of one's part."""
    settings = config(tiny, M2TR, overrides={"optimizer": "sam", "rho": 0.5, "lr": 0.01}, val="")
    with frozen_norms():
        train(settings, run=tmp_path / "one")
    port, place = free_port(), tmp_path / "two"
    both = [
        PROCESSES.Process(target=one_of_two, args=(settings, place, rank, port)) for rank in (0, 1)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(240)
    assert [process.exitcode for process in both] == [0, 0]
    one, two = curve(tmp_path / "one"), curve(place)
    assert len(one) == 4 and np.ptp(one) > 1e-2
    np.testing.assert_allclose(two, one, rtol=2e-4)


def test_what_it_knows_is_said_by_prediction_and_evaluation(tiny, trained, tmp_path):
    run = open_run(trained)
    knowledge = known_of(run)
    assert (knowledge.real_only, knowledge.real, knowledge.fake) == (True, 4, 0)
    assert SAYS in knowledge.cautions[0] and len(knowledge.cautions) == 1
    model, point = load_model(run)
    from unmask.pipeline.config import CropConfig

    assert SAYS in run_facts(run, point, CropConfig().settings())["Training"]["footage"]
    doubts = doubts_about_model(replace(knowledge, real=50, people=None), (), DEFAULT)
    assert not any("videos, at least" in doubt for doubt in doubts)
    assert "trained on 4 real videos, at least 50" in doubts_about_model(knowledge, (), DEFAULT)[0]
    real = Entry(f"tiny/{KEY}/r000", REAL)
    write_manifest(tmp_path / "seen.txt", [real])
    with pytest.raises(ManifestError, match="training manifest too"):
        admit(tmp_path / "seen.txt", run, model, Allowed(tiny[0]))
    _, cautions = admit(tmp_path / "seen.txt", run, model, Allowed(tiny[0], leakage=True))
    assert SAYS in cautions[0]


def test_genuine_fakes_may_choose_the_best_epoch_and_then_it_says_so(tmp_path):
    cache, manifests = make_cache(tmp_path, {"train": 1, "val": 1}, frames=2, side=48)
    overrides = {"epochs": 1, "batch": 2, "val_fakes": "manifest"}
    settings = config((cache, manifests), overrides=overrides)
    run = open_run(train(settings, run=tmp_path / "run").run)
    assert run.document["val"]["fake"] == 1 and run.document["val_fakes"] == "manifest"
    assert known_of(run).cautions[1] == "Its best epoch was chosen on genuine fakes."


def test_m2tr_learns_the_mask_of_the_paste(tiny, tmp_path):
    settings = config(tiny, M2TR, overrides={"epochs": 1, "blend.mask": "soft"}, steps=1, val="")
    fabric = build_fabric(settings)
    setup = build_setup(settings, fabric)
    assert setup.config.options["mask"] and setup.spec.masks and setup.spec.soft_masks
    assert setup.recipe.loss.seg == 1 and not setup.notes
    document = open_run(train(settings, run=tmp_path / "run").run).document
    assert document["model"]["spec"]["soft_masks"] is True
    losses = [json.loads(line)["loss"] for line in curves(tmp_path / "run").splitlines()[:1]]
    assert all(loss is not None for loss in losses)


def test_what_cannot_be_is_one_line(tiny):
    fabric = build_fabric(config(tiny))
    for wrong, words in (
        (config(tiny, bands="cached"), "pasted face changes the pixels"),
        (config(tiny, overrides={"batch": 3, "blend.kinds": []}), "names no part of the face"),
        (config(tiny, overrides={"batch": 1}), "batches of at least 2"),
        (config(tiny, accumulate=3), "pairs"),
    ):
        with pytest.raises(UsageError, match=words):
            build_setup(wrong, fabric)


def test_other_recipes_keep_the_identity_that_their_checkpoints_have(tiny):
    from unmask.pipeline.training.setup import identity

    manifests = tiny[1]
    settings = replace(config(tiny), recipe="small", val="", overrides={"balance": "none"})
    reals = [Entry(f"tiny/{KEY}/r00{number}", REAL) for number in range(2)]
    write_manifest(manifests / "reals.txt", reals)
    settings = replace(settings, manifest=str(manifests / "reals.txt"))
    names = set(identity(build_setup(settings, build_fabric(settings))))
    assert not names & {"recipe.blend", "recipe.val_fakes", "recipe.rho", "blend_version"}
    own = identity(build_setup(config(tiny), build_fabric(settings)))
    assert own["recipe.blend"]["kinds"] and own["blend_version"] == 1


# -- sam


def test_climbing_goes_rho_along_the_gradient_of_all_parameters_together():
    one, other, still = (nn.Parameter(torch.tensor(v)) for v in ([1.0, 2.0], [3.0], [9.0]))
    one.grad, other.grad = torch.tensor([0.0, 3.0]), torch.tensor([4.0])
    before = climb([one, other, still], 0.05)
    assert torch.allclose(one, torch.tensor([1.0, 2.03])) and torch.allclose(
        other, torch.tensor([3.04])
    )
    assert still.item() == 9 and one.grad is None and len(before) == 2
    go_back(before)
    assert one.tolist() == [1, 2] and other.tolist() == [3]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing_and_stays(bad):
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    weight.grad = torch.tensor([1.0, bad])
    assert climb([weight], 0.05) is None
    assert weight.tolist() == [1, 2] and not torch.isfinite(weight.grad).all()
    assert climb([nn.Parameter(torch.ones(1))], 0.05) is None


def test_sam_is_sgd_and_a_loss_scale_gives_the_same_point():
    network = nn.Linear(3, 2)
    recipe = replace(get_recipe("clrnet", "real_only"), optimizer="sam", l2=())
    optimizer = build_optimizer(network, recipe)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.9
    points = []
    for scale in (1.0, 65536.0):
        network.zero_grad()
        (network(torch.ones(1, 3)).square().sum() * scale).backward()
        before = climb(network.parameters(), recipe.rho)
        points.append(network.weight.detach().clone())
        go_back(before)
    torch.testing.assert_close(*points)


def test_a_sam_step_takes_the_gradient_at_the_worst_point(tiny, tmp_path):
    """One step of a run against its two passes written out; the first step has no momentum yet."""
    overrides = {"optimizer": "sam", "epochs": 1, "lr": 0.1, "l2": [], "augment": ["none"]}
    overrides |= {"schedule": "constant", "warmup": 0.0, "rho": 0.5}
    settings = config(tiny, overrides=overrides, steps=1, val="")
    plain = config(tiny, overrides={**overrides, "optimizer": "sgd"}, steps=1, val="")
    start = build_setup(settings, build_fabric(settings)).network
    ended = [
        weights(train(s, run=tmp_path / name).run)
        for s, name in ((settings, "sam"), (plain, "sgd"))
    ]
    gradients = [
        {n: (p.detach() - end[n]) / 0.1 for n, p in start.named_parameters()} for end in ended
    ]
    # sgd's step is the gradient at the start: climbing along it and asking again gives sam's
    norm = torch.sqrt(sum(g.square().sum() for g in gradients[1].values()))
    setup = build_setup(settings, build_fabric(settings))
    with torch.no_grad():
        for name, parameter in setup.network.named_parameters():
            parameter.add_(0.5 * gradients[1][name] / norm)
    from unmask.pipeline.clips.batches import batches
    from unmask.pipeline.clips.prepare import prepare

    raw = next(batches(setup.source, setup.plan(0)))
    setup.network.train()
    data = prepare(raw, setup.spec, "cpu", setup.augment)
    logits = setup.network.outputs(data.pixels, data.bands)["logits"]
    nn.functional.cross_entropy(logits, data.label).backward()
    for name, parameter in setup.network.named_parameters():
        torch.testing.assert_close(gradients[0][name], parameter.grad, rtol=0.02, atol=2e-4)

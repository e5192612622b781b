"""Training: what was killed, stopped or lost goes on as if nothing had happened; the curves do not
depend on how.

Runs that die do so in processes of their own, forked from a server that has imported everything
once.
"""

import json
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.tiny_cache import make_cache
from unmask.models import create_model
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import CacheError, CheckpointError, DiskError, TrainError, UsageError
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.runs import checkpoint
from unmask.pipeline.runs.newest import saved
from unmask.pipeline.runs.run_folder import load_model, open_run
from unmask.pipeline.training import loop, train, validation

PROCESSES = multiprocessing.get_context("forkserver")
# What training imports only when it needs it costs each process three seconds.
PROCESSES.set_forkserver_preload(
    ["tests.pipeline.training.test_loop", "unmask.models.m2tr", "sklearn.metrics"]
)

CLRNET = {
    "model": "clrnet",
    "options": {"width": 8, "frames": 2, "size": 48, "recurrent_kernel": "1"},
}
M2TR = {"model": "m2tr", "options": {"backbone": "test_efficientnet", "side": 32, "depth": 1}}
STIL = {"model": "stil", "options": {"frames": 4, "size": 48, "sim_pool": 2}}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_cache(
        tmp_path_factory.mktemp("train"), {"train": 5, "val": 2}, clips=4, frames=2, side=48
    )


def config(tiny, kind=CLRNET, **changes):
    overrides = {"epochs": 2, "batch": 4, "lr": 1e-3, "augment": ["flip", "clrnet"]} | changes.pop(
        "overrides", {}
    )
    base = TrainConfig(
        manifest=str(tiny[1] / "train.txt"),
        val=str(tiny[1] / "val.txt"),
        cache=str(tiny[0]),
        recipe="small",
        checkpoint_steps=1,
        val_clips=2,
        tensorboard=False,
        device="cpu",
        overrides=overrides,
        **kind,
    )
    return replace(base, **changes)


def act(settings, run, resume, what, step):
    """The body of a process: train, and do `what` to oneself at `step`."""
    torch.set_num_threads(1)
    me, steps, code = (
        os.getpid(),
        0,
        {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT},
    )
    word, _, where = what.partition("-")

    def hit():
        os.kill(me, code[word])
        if where == "twice":
            os.kill(me, code[word])

    def report(live):
        nonlocal steps
        if live.step == step and where in ("", "twice"):
            hit()

    inner = {
        "save": (checkpoint, "save_file"),
        "validation": (validation, "prepare"),
        "rename": (os, "rename"),
    }
    if where in inner:
        module, name = inner[where]
        original = getattr(module, name)

        def striking(*arguments, **options):
            nonlocal steps
            steps += 1
            if steps == step:
                hit()
            return original(*arguments, **options)

        setattr(module, name, striking)
    result = train.train(settings, run=run, resume=resume, report=report)
    sys.exit(result.exit_code)


def in_process(settings, run, resume=False, what="none", step=0):
    """Exit code of a training process; negative when a signal ended it."""
    process = PROCESSES.Process(target=act, args=(settings, run, resume, what, step))
    process.start()
    process.join(240)
    assert process.exitcode is not None
    return process.exitcode


def weights(run, kind="step"):
    return checkpoint.read(saved(run, kind)[0]).model


def assert_same(run, other):
    """Bit-equal weights, best weights and loss log; the log holds a checksum of every step's
    samples.
    """
    assert (run / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    assert not list((run / "checkpoints").glob(".tmp-*"))
    for kind in ("step", "best"):
        ours, theirs = weights(run, kind), weights(other, kind)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name].nan_to_num(), theirs[name].nan_to_num()) for name in ours)


_WHOLE = {}


def whole(tiny, tmp_path_factory, kind):
    """The uninterrupted run of a model, made once."""
    if kind["model"] not in _WHOLE:
        run = tmp_path_factory.mktemp("whole") / "run"
        assert in_process(config(tiny, kind), run) == 0
        _WHOLE[kind["model"]] = run
    return _WHOLE[kind["model"]]


# 3 steps and a validation an epoch, 2 epochs; save counts files written (model, optimizer of each
# checkpoint).
SLOW = pytest.mark.slow
POSITIONS = [
    (M2TR, "kill-save", 4),
    pytest.param(M2TR, "kill", 1, marks=SLOW),
    pytest.param(M2TR, "kill", 5, marks=SLOW),
    pytest.param(M2TR, "kill", 3, marks=SLOW),
    pytest.param(M2TR, "kill-validation", 1, marks=SLOW),
    pytest.param(M2TR, "kill-rename", 4, marks=SLOW),
    pytest.param(CLRNET, "kill", 2, marks=SLOW),
    pytest.param(CLRNET, "kill-save", 1, marks=SLOW),
    pytest.param(CLRNET, "kill", 6, marks=SLOW),
    pytest.param(STIL, "kill", 1, marks=SLOW),
    pytest.param(STIL, "kill-save", 7, marks=SLOW),
    pytest.param(STIL, "kill-validation", 2, marks=SLOW),
]


@pytest.mark.parametrize(
    "kind, what, step", POSITIONS, ids=lambda v: v["model"] if isinstance(v, dict) else str(v)
)
def test_a_killed_run_resumes_bit_by_bit(tiny, tmp_path, tmp_path_factory, kind, what, step):
    run = tmp_path / "run"
    assert in_process(config(tiny, kind), run, what=what, step=step) == -signal.SIGKILL
    assert in_process(config(tiny, kind), run, resume=True) == 0
    assert_same(run, whole(tiny, tmp_path_factory, kind))


SIGNALS = [
    ("int-validation", 2, 130),
    ("term-save", 2, 143),
    *(pytest.param("term", step, 143, marks=SLOW) for step in (1, 2, 3, 4, 6)),
    pytest.param("term-validation", 1, 143, marks=SLOW),
    pytest.param("term-save", 1, 143, marks=SLOW),
]


@pytest.mark.parametrize("what, step, code", SIGNALS)
def test_a_signal_ends_the_run_after_its_step_and_it_resumes_bit_by_bit(
    tiny, tmp_path, tmp_path_factory, what, step, code
):
    run = tmp_path / "run"
    assert in_process(config(tiny, M2TR, checkpoint_steps=0), run, what=what, step=step) == code
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    stopped = checkpoint.newest(run).state["progress"]["step"]
    assert stopped == lines[-1]["step"] and (what != "term" or stopped <= step + 1)
    assert in_process(config(tiny, M2TR, checkpoint_steps=0), run, resume=True) == 0
    assert_same(run, whole(tiny, tmp_path_factory, M2TR))


def test_a_second_signal_ends_the_process_at_once(tiny, tmp_path):
    assert (
        in_process(
            config(tiny, M2TR, checkpoint_steps=0), tmp_path / "run", what="term-twice", step=2
        )
        == 143
    )
    assert not saved(tmp_path / "run")


def test_a_damaged_newest_checkpoint_costs_steps_but_changes_nothing(
    tiny, tmp_path, tmp_path_factory
):
    run = tmp_path / "run"
    assert in_process(config(tiny, M2TR), run, what="kill", step=5) == -signal.SIGKILL
    path = saved(run)[0] / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    train.train(config(tiny, M2TR), run=run, resume=True)
    assert_same(run, whole(tiny, tmp_path_factory, M2TR))


@pytest.mark.parametrize(
    "field, changes", [("seed", {"seed": 5}), ("recipe.lr", {"overrides": {"lr": 0.5}})]
)
def test_resuming_with_other_settings_is_refused_by_name(tiny, tmp_path_factory, field, changes):
    run = whole(tiny, tmp_path_factory, M2TR)
    with pytest.raises(CheckpointError, match=rf"{field} is .* there and .* here"):
        train.train(config(tiny, M2TR, **changes), run=run, resume=True)


def test_a_run_is_evaluated_by_its_best_weights_and_refuses_other_pixels(tiny, tmp_path_factory):
    run = open_run(whole(tiny, tmp_path_factory, M2TR))
    network, point = load_model(run, key="tiny-key")
    best = weights(run.folder, "best")
    assert not network.training and point.folder.name.startswith("best-")
    assert all(torch.equal(tensor, best[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(CheckpointError, match="key is 'tiny-key' there and 'other' here"):
        load_model(run, key="other")


def poison(monkeypatch, steps):
    """Make the pixels of the given steps (from 1) not a number."""
    real, count = loop.prepare, 0

    def prepare(*arguments):
        nonlocal count
        count += 1
        batch = real(*arguments)
        return replace(batch, pixels=batch.pixels * float("nan")) if count in steps else batch

    monkeypatch.setattr(loop, "prepare", prepare)


@pytest.mark.parametrize(
    "steps", [{1}, {3, 4}, *(pytest.param({s}, marks=SLOW) for s in (2, 5, 6))]
)
def test_a_step_that_is_not_a_number_is_skipped_and_counted(tiny, tmp_path, monkeypatch, steps):
    poison(monkeypatch, steps)
    result = train.train(config(tiny), run=tmp_path / "run")
    assert result.progress.skipped == len(steps) and result.progress.step == 6
    lines = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert {
        line["step"] for line in lines if line["kind"] == "step" and line["loss"] is None
    } == steps
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run").values())


def test_a_skipped_step_leaves_weights_and_batch_statistics_as_they_were(
    tiny, tmp_path, monkeypatch
):
    poison(monkeypatch, {2})
    train.train(config(tiny, steps=2), run=tmp_path / "two")
    monkeypatch.undo()
    train.train(config(tiny, steps=1), run=tmp_path / "one")
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_ten_lost_steps_in_a_row_end_the_run_and_name_the_clips(tiny, tmp_path, monkeypatch):
    poison(monkeypatch, range(3, 100))
    with pytest.raises(
        TrainError, match=r"10 steps in a row, the last on tiny/tiny-key/.*step-00000012"
    ) as caught:
        train.train(config(tiny, M2TR, overrides={"epochs": 9}), run=tmp_path / "run")
    assert caught.value.exit_code == 4
    assert all(tensor.isfinite().all() for tensor in weights(tmp_path / "run").values())


def test_parts_of_a_batch_add_up_to_the_whole_batch(tiny, tmp_path):
    losses = {}
    for parts in (1, 2):
        changes = {
            "accumulate": parts,
            "overrides": {"optimizer": "sgd", "lr": 1e-3, "augment": []},
        }
        with frozen_norms():
            train.train(config(tiny, M2TR, **changes), run=tmp_path / str(parts))
        losses[parts] = curve(tmp_path / str(parts))
    np.testing.assert_allclose(losses[2], losses[1], rtol=1e-4)
    with pytest.raises(UsageError, match="batch of 2 samples cannot be shared by 1 processes x 4"):
        train.train(config(tiny, M2TR, accumulate=4), run=tmp_path / "4")
    assert not (tmp_path / "4").exists()


def curve(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "step"]


class frozen_norms:
    """Batch norms use their running statistics and dropout is off: how a batch is split cannot
    matter then.
    """

    def __enter__(self):
        self.before = torch.nn.Module.train
        torch.nn.Module.train = lambda module, mode=True: self.before(module, False)

    def __exit__(self, *reason):
        torch.nn.Module.train = self.before


def one_of_two(settings, run, rank, port):
    """The body of one of two gloo processes, as torchrun would start it."""
    start = {
        "LOCAL_WORLD_SIZE": "2",
        "WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "test",
    }
    start |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    os.environ.update(start)
    torch.set_num_threads(1)
    with frozen_norms():
        train.train(settings, run=run)


def test_two_processes_walk_the_same_loss_curve_as_one(tiny, tmp_path):
    """Gloo on loopback; batch norms frozen, because their statistics are of one process's part."""
    settings = config(tiny, M2TR, overrides={"augment": ["flip"]})
    with frozen_norms():
        train.train(settings, run=tmp_path / "one")
    port = free_port()
    both = [
        PROCESSES.Process(target=one_of_two, args=(settings, tmp_path / "two", rank, port))
        for rank in (0, 1)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join(240)
    assert [process.exitcode for process in both] == [0, 0]
    np.testing.assert_allclose(curve(tmp_path / "two"), curve(tmp_path / "one"), rtol=2e-4)
    lines = {
        name: (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        for name in ("one", "two")
    }
    one, two = json.loads(lines["one"][-1]), json.loads(lines["two"][-1])
    assert two["auc"] == one["auc"] and two["log_loss"] == pytest.approx(one["log_loss"], rel=1e-4)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_averaged_weights_follow_their_formula_and_survive_a_kill(tiny, tmp_path):
    settings = config(tiny, M2TR, ema=0.5, steps=3)
    seen = []
    for steps in (1, 2, 3):  # runs of the same seed walk the same first steps
        train.train(replace(settings, steps=steps), run=tmp_path / str(steps))
        seen.append(weights(tmp_path / str(steps)))
    ema = checkpoint.newest(tmp_path / "3").ema
    for name in seen[0]:
        if seen[0][name].is_floating_point() and "running" not in name:
            expected = 0.5 * (0.5 * seen[0][name] + 0.5 * seen[1][name]) + 0.5 * seen[2][name]
            torch.testing.assert_close(ema[name], expected)
    assert in_process(settings, tmp_path / "killed", what="kill", step=2) == -signal.SIGKILL
    train.train(settings, run=tmp_path / "killed", resume=True)
    again = checkpoint.newest(tmp_path / "killed").ema
    assert all(torch.equal(ema[name], again[name]) for name in ema)


def test_patience_stops_a_run_that_gets_no_better(tiny, tmp_path):
    settings = config(tiny, M2TR, patience=2, overrides={"lr": 0.0, "epochs": 9})
    result = train.train(settings, run=tmp_path / "run")
    assert result.progress.epoch < 9 and result.progress.epoch - result.progress.best_epoch == 2


@pytest.mark.slow  # every model learns drawn clips by heart in models/test_overfit.py
def test_the_detector_learns_the_flickering_patch(tiny, tmp_path):
    kind = {**CLRNET, "options": {**CLRNET["options"], "bn_momentum": 0.1}}
    # The whole list in one batch: losses of single steps are then comparable.
    overrides = {"epochs": 25, "augment": ["flip"], "batch": 10}
    result = train.train(
        config(tiny, kind, checkpoint_steps=0, overrides=overrides), run=tmp_path / "run"
    )
    losses = curve(tmp_path / "run")
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5]) and result.progress.auc >= 0.75


def test_training_without_validation_keeps_the_last_weights_as_the_best(tiny, tmp_path):
    result = train.train(config(tiny, M2TR, val="", steps=4), run=tmp_path / "run")
    assert result.progress.auc is None
    best, last = weights(tmp_path / "run", "best"), weights(tmp_path / "run")
    assert all(torch.equal(best[name], last[name]) for name in best)


def test_a_validation_manifest_of_other_pixels_is_refused(tiny, tmp_path):
    cache, manifests = tiny
    entries = read_manifest(manifests / "val.txt", cache).entries
    for entry in entries:
        folder = tmp_path / "cache" / entry.folder.replace("tiny-key", "other")
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(cache / entry.folder)
    (tmp_path / "cache" / "tiny" / "tiny-key").symlink_to(cache / "tiny" / "tiny-key")
    moved = [replace(entry, folder=entry.folder.replace("tiny-key", "other")) for entry in entries]
    write_manifest(tmp_path / "val.txt", moved)
    with pytest.raises(Exception, match=r"path_outside_cache|key is"):
        train.train(
            config(tiny, val=str(tmp_path / "val.txt"), cache=str(tmp_path / "cache")),
            run=tmp_path / "run",
        )
    assert not (tmp_path / "run").exists()


def test_another_manifest_than_the_one_to_repeat_is_refused(tiny, tmp_path):
    with pytest.raises(CheckpointError, match="manifest is 'abc' there"):
        train.train(config(tiny, M2TR), run=tmp_path / "run", expected={"manifest": "abc"})


def paper(tiny, **changes):
    """M2TR as published, whose loss has a term on masks, for one step of random weights."""
    settings = config(tiny, M2TR, recipe="paper", from_scratch=True, steps=1)
    overrides = {"epochs": 1, "batch": 4, "augment": []}
    return replace(settings, overrides=overrides, **changes)


def test_a_loss_on_masks_that_was_asked_for_needs_them_before_the_first_step(tiny, tmp_path):
    without = {**M2TR["options"], "mask": False}
    with pytest.raises(UsageError, match=r"--option mask=true.*--set loss.seg=0"):
        train.train(paper(tiny, options=without), run=tmp_path / "run")
    with pytest.raises(CacheError, match="has no masks and the loss wants them"):
        train.train(paper(tiny, options={**without, "mask": True}), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_papers_loss_leaves_masks_out_where_the_cache_has_none_and_says_so(tiny, tmp_path):
    told = []
    train.train(paper(tiny), run=tmp_path / "run", started=told.append)
    assert any("no masks for all fakes" in line for line in told[0].warnings)
    document = open_run(tmp_path / "run").document
    assert document["recipe"]["loss"]["seg"] == 0 and not document["config"]["options"]["mask"]
    again = train.train(open_run(tmp_path / "run").config, run=tmp_path / "again")
    assert curve(again.run) == curve(tmp_path / "run")


def test_the_papers_loss_uses_masks_where_all_fakes_have_them(tmp_path):
    masked = make_cache(tmp_path, {"train": 3, "val": 2}, masks=True, clips=2, frames=2, side=32)
    told = []
    train.train(paper(masked), run=tmp_path / "run", started=told.append)
    document = open_run(tmp_path / "run").document
    assert document["recipe"]["loss"]["seg"] == 1 and document["config"]["options"]["mask"]
    assert not told[0].warnings
    assert any(name.startswith("decoder.") for name in weights(tmp_path / "run"))


def test_imagenet_weights_are_asked_by_the_recipe_and_refused_offline_in_one_line(
    tiny, tmp_path, monkeypatch
):
    def offline(*arguments, **options):
        raise OSError("Name or service not known")

    monkeypatch.setattr("timm.models._builder.load_pretrained", offline)
    with pytest.raises(UsageError, match=r"pretrained weights 'test_efficientnet.*--from-scratch"):
        train.train(paper(tiny, from_scratch=False), run=tmp_path / "run")
    train.train(paper(tiny), run=tmp_path / "run")
    assert not open_run(tmp_path / "run").config.pretrained


def test_frozen_parts_keep_their_weights_and_statistics(tiny, tmp_path):
    trained = {"trained": ["stage3.*", "head.*"], "l2": []}
    asked = config(tiny, overrides={"epochs": 1, **trained}, from_scratch=True)
    train.train(asked, run=tmp_path / "run")
    torch.manual_seed(0)
    first = create_model("clrnet", **CLRNET["options"]).state_dict()
    last = weights(tmp_path / "run")
    moved = {name for name in first if not torch.equal(first[name], last[name])}
    assert moved and all(name.startswith(("stage3.", "head.")) for name in moved)
    assert "stage3.2.norm3.running_mean" in moved


def test_vtf_learns_on_a_frozen_network_that_was_trained_before(tiny, tmp_path):
    train.train(config(tiny, M2TR, steps=2), run=tmp_path / "first")
    given = saved(tmp_path / "first", "best")[0] / "model.safetensors"
    kind = {**M2TR, "options": {**M2TR["options"], "frames": 4, "video": "vtf"}}
    settings = config(tiny, kind, recipe="vtf", init=str(given), steps=2, overrides={"augment": []})
    train.train(settings, run=tmp_path / "vtf")
    before, after = weights(tmp_path / "first", "best"), weights(tmp_path / "vtf")
    shared = {n for n in before.keys() & after.keys() if "num_batches" not in n}
    assert any(name.startswith("backbone.") for name in shared)
    assert all(torch.equal(before[name], after[name]) for name in shared)
    load_model(open_run(tmp_path / "vtf"))


def test_a_run_without_one_finite_step_fails_and_leaves_no_best_weights(
    tiny, tmp_path, monkeypatch
):
    poison(monkeypatch, range(1, 100))
    with pytest.raises(TrainError, match=r"not one of the 3 steps had a finite loss.*32-true"):
        train.train(config(tiny, M2TR, checkpoint_steps=0), run=tmp_path / "run")
    assert not saved(tmp_path / "run", "best")


def test_a_disk_too_small_for_the_checkpoints_is_told_before_the_first_step(
    tiny, tmp_path, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(DiskError, match=r"MiB needed, 0.0 MiB free.*free some space") as caught:
        train.train(config(tiny, M2TR), tmp_path / "runs")
    assert caught.value.exit_code == 4 and not (tmp_path / "runs").exists()


def test_what_a_run_needs_is_what_its_checkpoints_come_to(tiny, tmp_path, monkeypatch):
    """The refusal counts three whole checkpoints and two of weights: compare with those written."""
    train.train(config(tiny, M2TR), run=tmp_path / "run")
    sizes = {
        kind: sum(p.stat().st_size for p in saved(tmp_path / "run", kind)[0].iterdir())
        for kind in ("step", "best")
    }
    usage = shutil.disk_usage(tmp_path)
    needed = 3 * sizes["step"] + 2 * sizes["best"]
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=int(0.8 * needed)))
    with pytest.raises(DiskError):
        train.train(config(tiny, M2TR), run=tmp_path / "refused")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=needed))
    train.train(config(tiny, M2TR, steps=1), run=tmp_path / "enough")


def limited(settings, run, most):
    """The body of a process whose files may not grow beyond `most` bytes: a full disk."""
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    try:
        train.train(settings, run=run)
    except DiskError as error:
        sys.exit(77 if "MiB needed" in str(error) and "\n" not in str(error) else 78)


@pytest.mark.parametrize("most", [100_000, pytest.param(200, marks=SLOW)])
def test_a_disk_that_fills_while_training_is_one_line_and_loses_nothing(tiny, tmp_path, most):
    run = tmp_path / "run"
    process = PROCESSES.Process(target=limited, args=(config(tiny, M2TR), run, most))
    process.start()
    process.join(240)
    assert process.exitcode == 77
    left = list((run / "checkpoints").iterdir()) if (run / "checkpoints").exists() else []
    assert not left
    if most > 200:  # run.json stands: the run can go on
        assert in_process(config(tiny, M2TR), run, resume=True) == 0

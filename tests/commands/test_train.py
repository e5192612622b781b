"""train and runs as a user types them: short forms, what they take for granted, mistakes in one
line.
"""

import json
import shutil

import pytest

from tests.support.tiny_cache import make_cache
from unmask.commands.main import main
from unmask.models import list_models, model_class
from unmask.models.recipes.recipes import list_recipes

SMALL = [
    *(
        "--option",
        "backbone=test_efficientnet",
        "--option",
        "side=32",
        "--option",
        "depth=1",
        "--model",
        "m2tr",
    ),
    *("--recipe", "small", "--epochs", "1", "--batch", "4", "--val-clips", "1", "--device", "cpu"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with cache/, manifests/tiny/set/ and one finished run, as a user has it."""
    root = tmp_path_factory.mktemp("home")
    _, manifests = make_cache(root, {"train": 3, "val": 2}, clips=2, frames=2, side=32)
    (manifests / "set").mkdir()
    for name in ("train.txt", "val.txt"):
        shutil.move(manifests / name, manifests / "set" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert main(["train", *SMALL]) == 0
    return root


@pytest.fixture
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)
    return home


def only_run(home):
    return home / "runs" / "0001-m2tr-tiny-set"


def test_the_short_form_took_its_siblings_and_wrote_everything(home):
    run = only_run(home)
    document = json.loads((run / "run.json").read_text())
    assert document["config"]["val"] == "manifests/tiny/set/val.txt"
    assert (
        document["recipe"]["batch"] == 4
        and document["recipe"]["lr"] > 0
        and document["manifest"]["videos"] == 6
    )
    assert {path.name for path in run.iterdir()} == {
        "run.json",
        "metrics.jsonl",
        "speed.jsonl",
        "tensorboard",
        "checkpoints",
    }
    assert 0 <= json.loads((run / "speed.jsonl").read_text().splitlines()[-1])["wait"] <= 1


def test_tensorboard_holds_the_curves(home):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator(str(only_run(home) / "tensorboard")).Reload()
    losses = [
        json.loads(line) for line in (only_run(home) / "metrics.jsonl").read_text().splitlines()
    ]
    expected = [line["loss"] for line in losses if line["kind"] == "step"]
    assert [event.value for event in curves.Scalars("loss")] == pytest.approx(expected)
    assert "validation/auc" in curves.Tags()["scalars"]


def test_it_says_which_defaults_it_took(at_home, capsys):
    assert main(["train", *SMALL, "--run", "spoken"]) == 0
    said = capsys.readouterr().out
    assert "manifest manifests/tiny/set/train.txt, val manifests/tiny/set/val.txt" in said
    assert "everything is in spoken" in said


def test_repeating_a_run_gives_the_same_log(at_home):
    assert main(["train", "--from-run", str(only_run(at_home) / "run.json"), "--run", "again"]) == 0
    assert (at_home / "again" / "metrics.jsonl").read_bytes() == (
        only_run(at_home) / "metrics.jsonl"
    ).read_bytes()


def test_an_exported_file_trains_like_its_manifest(at_home):
    for name in ("train", "val"):
        manifest = f"manifests/tiny/set/{name}.txt"
        assert main(["export", "--manifest", manifest, "--to", f"h5/{name}.h5"]) == 0
    arguments = [
        "train",
        *SMALL,
        "--manifest",
        "h5/train.h5",
        "--cache",
        "nowhere",
        "--run",
        "exported",
    ]
    assert main(arguments) == 0
    assert (at_home / "exported" / "metrics.jsonl").read_bytes() == (
        only_run(at_home) / "metrics.jsonl"
    ).read_bytes()


def test_more_epochs_go_on_where_the_run_ended(at_home):
    shutil.copytree(only_run(at_home), at_home / "longer")
    assert main(["train", "--resume", "--run", "longer", "--epochs", "2"]) == 0
    before = (only_run(at_home) / "metrics.jsonl").read_text()
    after = (at_home / "longer" / "metrics.jsonl").read_text()
    assert after.startswith(before) and json.loads(after.splitlines()[-1])["epoch"] == 2


def test_runs_lists_them(at_home, capsys):
    assert main(["runs"]) == 0
    assert "0001-m2tr-tiny-set" in capsys.readouterr().out
    assert main(["runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[-1]["model"] == "m2tr"


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["train", "--manifest", "no.txt"], 4, "no such manifest"),
        (["train", *SMALL, "--option", "sides=3"], 2, "did you mean 'side'"),
        (["train", *SMALL, "--set", "lrr=3"], 2, "did you mean 'lr'"),
        (["train", *SMALL, "--set", "augment=flipp"], 2, "no augmentation 'flipp'"),
        (["train", "--model", "clrnett"], 2, "clrnet"),
        (["train", *SMALL, "--batch", "1"], 2, "batches of at least 2"),
        (["train", *SMALL, "--accumulate", "3"], 2, "cannot be shared"),
        (["train", "--resume", "--seed", "3"], 2, "leave out --seed"),
        (["train", "--run", "runs/0001-m2tr-tiny-set"], 2, "there is a run already"),
        (["train", *SMALL, "--init", "no.safetensors"], 4, "cannot be read"),
        (["train", *SMALL, "--init", "weights.pt"], 4, "--trust-checkpoint"),
        (["train", "--from-run", "no/run.json"], 4, "not a readable run.json"),
        (["runs", "--runs", "none"], 2, "no training run here"),
        (["train", *SMALL, "--device", "cuda"], 2, "sees no GPU"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_run(at_home, capsys, arguments, code, words):
    before = sorted((at_home / "runs").iterdir())
    assert main(arguments) == code
    said = capsys.readouterr().err.strip()
    assert words in said and "\n" not in said
    assert sorted((at_home / "runs").iterdir()) == before


def test_a_run_goes_on_from_another_folder_than_it_was_trained_in(
    at_home, tmp_path, monkeypatch, capsys
):
    shutil.copytree(only_run(at_home), at_home / "elsewhere")
    monkeypatch.chdir(tmp_path)
    run = ["--run", str(at_home / "elsewhere")]
    # The copy lies one folder higher than the original: its paths lead nowhere from there.
    assert main(["train", "--resume", *run, "--epochs", "2"]) == 4
    assert "no such manifest" in capsys.readouterr().err
    lists = at_home / "manifests" / "tiny" / "set"
    places = ["--manifest", str(lists / "train.txt"), "--val", str(lists / "val.txt")]
    places += ["--cache", str(at_home / "cache")]
    assert main(["train", "--resume", *run, "--epochs", "2", *places]) == 0
    assert main(["train", "--resume", *run, "--epochs", "3"]) == 0  # it now knows where they lie
    assert main(["train", "--from-run", str(only_run(at_home)), "--run", "again"]) == 0
    assert (tmp_path / "again" / "metrics.jsonl").read_bytes() == (
        only_run(at_home) / "metrics.jsonl"
    ).read_bytes()


def test_runs_that_cannot_be_written_are_one_line(at_home, capsys):
    (at_home / "a-file").write_text("")
    assert main(["train", *SMALL, "--runs", "a-file/runs"]) == 4
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "not written" in said and "MiB free" in said and "choose another place" in said


@pytest.mark.parametrize("name", list_models())
def test_every_models_default_recipe_runs_on_a_cache_as_extract_makes_it(
    tmp_path, monkeypatch, name
):
    cache, manifests = make_cache(tmp_path, {"train": 2}, clips=4, frames=5, side=112)
    options = [f"--option={key}={value}" for key, value in model_class(name).small.items()]
    places = ["--manifest", str(manifests / "train.txt"), "--cache", str(cache)]
    words = ["--from-scratch", "--steps", "1", "--no-tensorboard", "--run", str(tmp_path / "run")]
    device = ["--device", "cpu"]
    assert main(["train", "--model", name, *options, *places, *words, *device]) == 0
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert document["config"]["recipe"] == list_recipes(name)[0]
    assert list((tmp_path / "run" / "checkpoints").glob("best-*"))

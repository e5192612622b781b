"""A package of somebody else adds a model, a dataset, a metric, a perturbation and a command; one
that is broken is one clear line and costs nobody else anything.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_cache import make_cache
from tests.support.trained import make_run
from tests.support.trees import plant
from unmask import plugins
from unmask.commands.main import main
from unmask.models import ModelError, create_model, list_models, model_row
from unmask.models.recipes.recipes import get_recipe
from unmask.pipeline.config import CropConfig
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video
from unmask.pipeline.errors import UsageError
from unmask.pipeline.scores.csv_file import read_scores
from unmask.pipeline.scores.video_scores import video_scores
from unmask.pipeline.sources.registry import discover, resolve
from unmask.testing.datasets import DatasetTests
from unmask.testing.models import ModelTests

ORIGIN = "unmask-extra 1.0"
CAUSE = "ModuleNotFoundError: No module named 'a_library_that_is_not_installed'"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed tests/plugins."""
    root = tmp_path_factory.mktemp("plugins")
    shutil.copytree(Path(__file__).parent / "plugins", root / "source")
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet")
    words = ("install", *offline, "--target", str(root / "site"), str(root / "source"))
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True)
    return root / "site"


@pytest.fixture(scope="class")
def installed(site: Path) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield site
        for name in [name for name in sys.modules if name.split(".")[0] == "unmask_extra"]:
            del sys.modules[name]


def broken(title: str) -> str:
    """The one line that is said of a broken part."""
    return f"unmask: {title} of package {ORIGIN} cannot be used: {CAUSE}\n"


def offer(root: Path, package: str, text: str) -> Path:
    """A distribution that is nothing but metadata."""
    folder = root / f"{package}-2.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 2\n")
    (folder / "entry_points.txt").write_text(text)
    return root


@pytest.mark.usefixtures("installed")
class TestTiny(ModelTests):
    model_name = "tiny"


@pytest.mark.usefixtures("installed")
class TestClipBox(DatasetTests):
    dataset_name = "clipbox"

    def plant(self, root: Path) -> None:
        people = ("ann", "ben", "cem", "dia")
        plant(root, *(f"box/{who}/{film}.mp4" for who in people for film in ("r1", "r2", "f1")))


@pytest.mark.usefixtures("installed")
class TestInstalled:
    def test_a_model_appears_in_the_table_with_its_origin(self, capsys):
        assert main(["models"]) == 0
        shown = capsys.readouterr()
        row = next(line for line in shown.out.splitlines() if line.startswith("tiny"))
        assert ORIGIN in row and "colour statistics of one frame; nobody, 2025" in row
        assert f"{sum(p.numel() for p in create_model('tiny').parameters()):,}" in row
        assert (
            shown.err
            == f"unmask: model 'broken-model' of package {ORIGIN} cannot be used: {CAUSE}\n"
        )

    def test_a_dataset_appears_in_the_table_with_its_origin(self, capsys):
        assert main(["datasets"]) == 0
        shown = capsys.readouterr()
        assert f"from:    {ORIGIN}" in shown.out and "Clip box" in shown.out
        assert "celebdf2" in shown.out
        assert (
            shown.err
            == f"unmask: dataset 'broken-dataset' of package {ORIGIN} cannot be used: {CAUSE}\n"
        )
        assert resolve("Box of Clips").name == "clipbox"

    def test_a_command_appears_in_the_help_and_runs(self, capsys):
        assert main(["--help"]) == 0
        assert f"hello           {ORIGIN}" in capsys.readouterr().out
        assert main(["hello"]) == 0
        assert capsys.readouterr().out == "hello from another package\n"

    @pytest.mark.parametrize(
        ("words", "title"),
        [
            (["models", "broken-model"], "model 'broken-model'"),
            (["datasets", "broken-dataset"], "dataset 'broken-dataset'"),
            (["broken-command"], "command 'broken-command'"),
        ],
    )
    def test_a_broken_part_is_one_line_that_names_its_package(self, words, title, capsys):
        assert main(words) == 2
        assert capsys.readouterr().err == broken(title)

    def test_its_model_brings_its_own_recipe(self):
        assert get_recipe("tiny").lr == 1e-2

    def test_its_model_gives_a_verdict_on_a_video(self, tmp_path, capsys):
        cache, manifests = make_cache(tmp_path, {"train": 1}, side=64)
        settings = CropConfig(clips=4, frames=3, size=64).settings()
        run = tmp_path / "run"
        make_run(run, manifests / "train.txt", cache, settings, "tiny", {"width": 4, "size": 64})
        pictures = [picture for picture, _ in draw_frames(draw_identity(1), 20, (320, 240))]
        encode_video(tmp_path / "person.mp4", pictures)
        capsys.readouterr()
        code = main(["predict", str(tmp_path / "person.mp4"), "--run", str(run), "--json"])
        assert code in (0, 10, 11)
        assert 0 < json.loads(capsys.readouterr().out)["videos"][0]["score"] < 1

    def test_what_its_dataset_does_wrong_is_one_line(self, tmp_path, monkeypatch):
        plant(tmp_path, "box/ann/r1.mp4")
        source = resolve("clipbox")

        def fails(root, options):
            raise KeyError("who")

        for discover_wrongly, said in ((fails, "KeyError: 'who'"), (lambda *_: 7, "it found 7")):
            monkeypatch.setitem(source.__dict__, "discover", discover_wrongly)
            with pytest.raises(UsageError, match=rf"package {ORIGIN} cannot be used: {said}"):
                discover("clipbox", tmp_path)


def unmask_of(site: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """One command in a process of its own, to which the package is installed."""
    run = "import sys; from unmask.commands.main import main; sys.exit(main(sys.argv[1:]))"
    path = os.pathsep.join([str(site), str(Path(__file__).parent.parent)])
    return subprocess.run(
        [sys.executable, "-P", "-c", run, *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        cwd="/",
    )


@pytest.fixture(scope="module")
def trained(site: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(run, cache, manifests): the package's model, trained on a tiny cache."""
    root = tmp_path_factory.mktemp("tiny")
    cache, manifests = make_cache(root, {"train": 4, "val": 2, "test": 3})
    words = ("--model", "tiny", "--option", "size=32", "--no-tensorboard", "--steps", "3")
    where = ("--cache", cache, "--runs", root / "runs")
    done = unmask_of(site, "train", "--manifest", manifests / "train.txt", *words, *where)
    assert done.returncode == 0, done.stderr
    return next((root / "runs").iterdir()), cache, manifests


def test_its_model_metric_and_perturbation_take_part_in_an_evaluation(site, trained):
    run, cache, manifests = trained
    kind = ("--robust-kind", "grey", "--robust-videos", "1")
    words = ("--run", run, "--cache", cache, *kind)
    quick = ("--resamples", "50", "--explain", "0", "--no-pictures")
    done = unmask_of(site, "evaluate", "--manifest", manifests / "test.txt", *words, *quick)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"metric 'broken-metric' of package {ORIGIN} cannot be used") == 1
    broken_kind = f"perturbation 'broken-perturbation' of package {ORIGIN} cannot be used"
    assert done.stderr.count(broken_kind) == 1
    folder = next(path for path in (run / "evaluations").iterdir() if path.is_dir())
    document = json.loads((folder / "metrics.json").read_text())
    scores, _ = read_scores(folder / "scores.csv")
    joined = video_scores(scores)
    measured = document["levels"]["video"]["metrics"]["squared"]
    assert measured["value"] == pytest.approx(np.mean((joined.score - joined.label) ** 2))
    assert measured["low"] <= measured["value"] <= measured["high"]
    row = next(row for row in document["robustness"] if row[0] == "towards grey")
    assert all(isinstance(value, float) for value in row[1:4])
    assert f"towards grey is of package {ORIGIN}" in (folder / "report.html").read_text()


def test_a_run_whose_model_was_uninstalled_is_one_line(trained, capsys):
    run, cache, manifests = trained
    words = ["--run", str(run), "--cache", str(cache)]
    assert main(["evaluate", "--manifest", str(manifests / "test.txt"), *words]) == 4
    error = capsys.readouterr().err.splitlines()
    assert [line for line in error if line.startswith("unmask: ")] == [error[-1]]
    assert "no model 'tiny'" in error[-1] and str(run) in error[-1]


def test_its_metric_appears_in_the_list_with_its_origin(site):
    done = unmask_of(site, "metrics")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("squared"))
    assert lines[place + 1].split() == ["from", *ORIGIN.split()]
    assert lines[0].startswith("auc") and lines[1].split() == ["from", "unmask"]


def test_without_the_package_nothing_of_it_is_known(capsys):
    assert "tiny" not in list_models()
    with pytest.raises(ModelError, match="no model 'tiny'"):
        model_row("tiny")
    assert main(["hello"]) == 2


def test_metadata_in_the_working_directory_or_beside_the_program_opens_no_door(site, monkeypatch):
    monkeypatch.syspath_prepend(site)
    assert "tiny" in list_models()
    monkeypatch.chdir(site)
    assert "tiny" not in list_models()
    monkeypatch.chdir("/")
    monkeypatch.setattr(sys, "argv", [os.fspath(site / "program.py")])
    assert "tiny" not in list_models()


def test_nobody_takes_a_name_of_unmasks_own(tmp_path, monkeypatch, caplog):
    text = "[unmask.models]\nclrnet = nowhere:Model\n"
    monkeypatch.syspath_prepend(offer(tmp_path, "greedy", text))
    assert list_models().count("clrnet") == 1
    assert model_row("clrnet").origin == "unmask"
    assert "model 'clrnet' of package greedy 2 is not used: the name is unmask's own" in caplog.text


def test_a_name_that_two_packages_offer_belongs_to_neither(tmp_path, monkeypatch):
    for package in ("first", "second"):
        offer(tmp_path, package, "[unmask.models]\ntwice = nowhere:Model\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"first 2 and second 2.*two packages offer the name"):
        create_model("twice")


@pytest.mark.parametrize("text", ["[unmask.models\nx = y", "\x00unmask.models", "unmask. = ="])
def test_broken_metadata_costs_nobody_else_anything(text, site, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(offer(tmp_path, "damaged", text))
    monkeypatch.syspath_prepend(site)
    assert "tiny" in list_models()


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("Model = 7", "7 is not a class of torch.nn.Module"),
        ("from torch.nn import Linear as Model", "it has no method `outputs"),
        ("raise ValueError('two\\nlines \\x1b[31m')", "ValueError: two lines ?[31m"),
    ],
)
def test_a_model_that_is_none_is_one_safe_line(code, why, tmp_path, monkeypatch):
    name = f"strange_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(
        offer(tmp_path, "strange", f"[unmask.models]\nodd = {name}:Model\n")
    )
    with pytest.raises(ModelError) as caught:
        create_model("odd")
    said = str(caught.value)
    assert said.startswith("model 'odd' of package strange 2 cannot be used: ") and why in said
    assert said.isprintable()


def test_listing_what_is_offered_imports_none_of_it(site, monkeypatch):
    monkeypatch.syspath_prepend(site)
    assert set(plugins.offers("commands")) == {"hello", "broken-command"}
    assert "unmask_extra" not in sys.modules

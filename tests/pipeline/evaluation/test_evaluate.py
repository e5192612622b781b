"""From a run and a manifest to files: every number comes from the scores file, nothing doubtful
passes silently.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.support.tiny_cache import draw_video, make_cache, write_one
from tests.support.tiny_run import make_run
from unmask.commands.evaluate import defaults
from unmask.pipeline.clips.batches import batches
from unmask.pipeline.clips.prepare import prepare
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import EvaluateConfig
from unmask.pipeline.errors import CacheError, ManifestError, UsageError
from unmask.pipeline.evaluation import robustness
from unmask.pipeline.evaluation.evaluate import evaluate, name_of
from unmask.pipeline.manifests.outcomes import Listed, write_outcomes
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import FAKE, REAL, Entry, Outcome
from unmask.pipeline.runs.run_folder import load_model, open_run
from unmask.pipeline.scores import calibration as cal
from unmask.pipeline.scores.csv_file import read_scores
from unmask.pipeline.scores.evaluation_folder import read_evaluation
from unmask.pipeline.scores.results import Sizes
from unmask.pipeline.scores.video_scores import video_scores
from unmask.pipeline.shortcuts.page import Summary


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cache, train/val/test manifests and a run beside them."""
    root = tmp_path_factory.mktemp("world")
    cache, manifests = make_cache(root, {"train": 2, "val": 4, "test": 5})
    make_run(root / "runs" / "0001-clrnet-tiny", cache, manifests / "train.txt")
    return root


def config_of(world: Path, *names: str, **changes: object) -> EvaluateConfig:
    manifests = tuple(
        str(world / "manifests" / "tiny" / f"{name}.txt") for name in names or ("test",)
    )
    run = str(world / "runs" / "0001-clrnet-tiny")
    basic = EvaluateConfig(
        manifests=manifests,
        run=run,
        cache=str(world / "cache"),
        resamples=50,
        device="cpu",
        explain=0,
        pictures=False,
    )
    return replace(basic, **changes)


@pytest.fixture(scope="module")
def done(world: Path, tmp_path_factory: pytest.TempPathFactory):
    return evaluate(
        config_of(world, out=str(tmp_path_factory.mktemp("out")), explain=1, pictures=True)
    )[0]


def test_every_promised_file_is_there(done) -> None:
    names = {path.name for path in done.folder.iterdir()}
    assert {
        "scores.csv",
        "metrics.json",
        "report.html",
        "roc.png",
        "det.png",
        "scores.png",
        "reliability.png",
    } <= names
    assert json.loads((done.folder / "metrics.json").read_text()) == json.loads(
        json.dumps(done.as_json())
    )
    again = read_evaluation(done.folder)
    assert again.as_json() == done.as_json() and again.result == done.result


def test_scores_are_the_models_own_and_complete(world: Path, done) -> None:
    rows, _ = read_scores(done.folder / "scores.csv")
    assert len(rows) == 10 * 4
    assert rows.level == "clip"
    run = open_run(world / "runs" / "0001-clrnet-tiny")
    model, _ = load_model(run)
    source = ClipSource(world / "manifests" / "tiny" / "test.txt", world / "cache", model.spec)
    sample = source.evaluation_samples()[6]
    with torch.inference_mode():
        batch = prepare(next(batches(source, [[sample]])), model.spec, "cpu")
        alone = model(batch.pixels).softmax(1)[0, 1]
    assert rows.score[6] == pytest.approx(float(alone), abs=1e-6)
    assert rows.video_id[6] == Path(source.entries[1].folder).name
    assert (rows.clip[6], rows.label[6]) == (2, source.labels[1])
    assert set(rows.method) == {"real", "Deepfakes"}


def test_the_numbers_are_those_anybody_gets_from_the_file(world: Path, done) -> None:
    rows, sha256 = read_scores(done.folder / "scores.csv")
    video = done.result.video
    by_hand = {v: rows.score[rows.video_id == v].mean() for v in np.unique(rows.video_id)}
    label = [int(v.startswith("f")) for v in by_hand]
    assert video.measure("auc").value == pytest.approx(
        roc_auc_score(label, list(by_hand.values())), abs=1e-12
    )
    assert done.result.levels["clip"].measure("auc").value == roc_auc_score(rows.label, rows.score)
    assert video.sizes == Sizes(10, 5, 5, 10)
    assert done.provenance["Evaluated"]["scores sha256"] == sha256
    weights = next((world / "runs" / "0001-clrnet-tiny").rglob("model.safetensors")).read_bytes()
    assert done.provenance["Model"]["weights sha256"] == hashlib.sha256(weights).hexdigest()


def test_batch_size_and_order_of_work_do_not_matter(world: Path, done, tmp_path: Path) -> None:
    other = evaluate(config_of(world, out=str(tmp_path), batch=3, threads=1))[0]
    first, second = (read_scores(e.folder / "scores.csv")[0] for e in (done, other))
    assert first.score == pytest.approx(second.score, abs=1e-6)
    assert first.video_id.tolist() == second.video_id.tolist()


def test_same_call_twice_gives_the_same_bytes(world: Path, done, tmp_path: Path) -> None:
    again = evaluate(config_of(world, out=str(tmp_path)))[0]
    assert (again.folder / "scores.csv").read_bytes() == (done.folder / "scores.csv").read_bytes()
    assert again.result.levels == done.result.levels


def test_the_page_asks_the_network_for_nothing(done) -> None:
    page = (done.folder / "report.html").read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href|srcset)=\"(?!data:|#)", page)
    assert "<script" not in page and "url(" not in page
    for fact in (
        "clrnet",
        done.provenance["Model"]["weights sha256"],
        "What these numbers are not",
    ):
        assert fact in page


def test_videos_seen_in_training_are_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match="4 videos are in the run's training manifest too"
    ) as caught:
        evaluate(config_of(world, "train", out=str(tmp_path)))
    assert "--allow-leakage" in str(caught.value)
    assert not list(tmp_path.iterdir())
    allowed = evaluate(config_of(world, "train", out=str(tmp_path), allow_leakage=True))[0]
    assert "4 of these videos were trained on" in allowed.cautions[0]
    assert "4 of these videos were trained on" in (allowed.folder / "report.html").read_text()


def leaky(world: Path, root: Path, **facts: object) -> Path:
    """A manifest of one fake with these facts and two innocent videos."""
    entries = [
        write_one(
            world / "cache", f"{root.name}-leak", draw_video(90, FAKE), FAKE, method="X", **facts
        )
    ]
    for number, label in ((91, REAL), (92, FAKE)):
        entries.append(
            write_one(world / "cache", f"{root.name}-{number}", draw_video(number, label), label)
        )
    path = root / "leaky.txt"
    write_manifest(path, entries)
    return path


def test_the_same_video_in_another_compression_is_refused(world: Path, tmp_path: Path) -> None:
    trained = [
        write_one(
            world / "cache", "c23-a", draw_video(80, FAKE), FAKE, key="X/c23/a", compression="c23"
        )
    ]
    trained.append(
        write_one(
            world / "cache",
            "c23-r",
            draw_video(81, REAL),
            REAL,
            key="real/c23/a",
            compression="c23",
        )
    )
    write_manifest(tmp_path / "train.txt", trained)
    run = make_run(tmp_path / "run", world / "cache", tmp_path / "train.txt")
    path = leaky(world, tmp_path, key="X/c40/a", compression="c40")
    with pytest.raises(ManifestError, match="1 videos"):
        evaluate(config_of(world, manifests=(str(path),), run=str(run), out=str(tmp_path / "o")))


@pytest.mark.parametrize("official", [False, True])
def test_a_shared_leakage_group_is_refused_unless_the_owners_split_it(
    world: Path, tmp_path: Path, official: bool
) -> None:
    name = f"g{official}"
    trained = [
        write_one(world / "cache", f"{name}-t", draw_video(82, FAKE), FAKE, group="person 7")
    ]
    trained.append(
        write_one(world / "cache", f"{name}-r", draw_video(83, REAL), REAL, group="person 8")
    )
    write_manifest(tmp_path / "train.txt", trained)
    run = make_run(tmp_path / "run", world / "cache", tmp_path / "train.txt")
    path = leaky(
        world, tmp_path, group="person 7", split_origin="official" if official else "derived"
    )
    config = config_of(world, manifests=(str(path),), run=str(run), out=str(tmp_path / "o"))
    if official:
        assert "1 videos share a person" in evaluate(config)[0].cautions[0]
    else:
        with pytest.raises(ManifestError, match="1 leakage groups"):
            evaluate(config)


def test_a_training_manifest_that_is_gone_is_said(world: Path, tmp_path: Path) -> None:
    training = tmp_path / "train.txt"
    training.write_bytes((world / "manifests" / "tiny" / "train.txt").read_bytes())
    run = make_run(tmp_path / "run", world / "cache", training)
    training.unlink()
    result = evaluate(config_of(world, run=str(run), out=str(tmp_path / "o")))[0]
    assert "unknown" in result.cautions[0]


def test_crops_of_other_settings_are_refused_by_the_name_of_the_setting(
    world: Path, tmp_path: Path
) -> None:
    cache, manifests = make_cache(tmp_path, {"train": 2, "test": 2})
    for number, path in enumerate(sorted((cache / "tiny").glob("*/*"))):
        path.rename(path.with_name(f"x{number}"))
    other = tmp_path / "cache" / "tiny" / "other-key"
    entries = []
    for number, label in ((0, REAL), (1, FAKE)):
        entries.append(
            write_one(
                cache,
                f"n{number}",
                draw_video(number + 70, label),
                label,
                settings={"margin": 1.3, "size": 32},
            )
        )
    (cache / "tiny" / "tiny-key").rename(other)
    write_manifest(
        manifests / "test.txt",
        [Entry(e.folder.replace("tiny-key", "other-key"), e.label) for e in entries],
    )
    trained = []
    for number, label in ((0, REAL), (1, FAKE)):
        trained.append(
            write_one(
                cache,
                f"t{number}",
                draw_video(number, label),
                label,
                settings={"margin": 1.1, "size": 32},
            )
        )
    write_manifest(manifests / "train.txt", trained)
    run = make_run(tmp_path / "run", cache, manifests / "train.txt")
    config = config_of(tmp_path, run=str(run), out=str(tmp_path / "o"))
    with pytest.raises(CacheError, match=r"margin 1\.3 instead of 1\.1") as caught:
        evaluate(config)
    assert (
        "--other-pixels" in str(caught.value)
        and "size" not in str(caught.value).split("tiny-key")[1]
    )
    allowed = evaluate(replace(config, other_pixels=True))[0]
    assert "margin 1.3 instead of 1.1" in allowed.cautions[0]


def test_denominators_say_who_was_not_scored(world: Path, tmp_path: Path) -> None:
    cache, manifests = make_cache(tmp_path, {"train": 1, "test": 3})
    run = make_run(tmp_path / "run", cache, manifests / "train.txt")
    lines = (
        manifests / "test.txt"
    ).read_text() + "tiny/tiny-key/gone-1 1\ntiny/tiny-key/gone-0 0\n"
    (manifests / "test.txt").write_text(lines)
    rows = [
        Listed(Outcome("lost-a", "skipped", "no_face"), FAKE, "Deepfakes", "test"),
        Listed(Outcome("lost-b", "failed", "truncated"), FAKE, "Deepfakes", "test"),
        Listed(Outcome("lost-c", "failed", "truncated"), REAL, "real", "test"),
        Listed(Outcome("elsewhere", "failed", "truncated"), REAL, "real", "train"),
        Listed(Outcome("f001", "ok"), FAKE, "Deepfakes", "test"),
        Listed(Outcome("never-a", "failed", "missing"), FAKE, "Deepfakes", "test"),
    ]
    write_outcomes(manifests / "outcomes.jsonl", rows)
    sha256 = hashlib.sha256((manifests / "test.txt").read_bytes()).hexdigest()
    audited = Summary("broken", 0.93, 0.88, 0.97, 0.005, ("time",), 40, sha256)
    (manifests / "test.audit.json").write_text(json.dumps({"summary": asdict(audited)}))
    config = config_of(tmp_path, run=str(run), out=str(tmp_path / "o"))
    with pytest.raises(ManifestError, match="2 of 8"):
        evaluate(config)
    evaluation = evaluate(replace(config, allow_missing=True))[0]
    coverage = evaluation.result.coverage
    assert (coverage.scored, coverage.failed, coverage.missing) == ((3, 3), (1, 2), (1, 1))
    assert coverage.absent == (0, 1) and "never on this disk" in evaluation.cautions[-2]
    assert "AUC 0.930 [0.880, 0.970] without looking at the forgery" in evaluation.cautions[-1]
    assert coverage.known and coverage.reasons == {"no_face": 1, "truncated": 2}
    assert coverage.share == pytest.approx(6 / 11)
    written = json.loads((evaluation.folder / "metrics.json").read_text())["coverage"]
    assert written["scored"] == {"n": 6, "real": 3, "fake": 3}
    assert written["failed"] == {"n": 3, "real": 1, "fake": 2, "known": True}
    assert written["missing"] == {"n": 2, "real": 1, "fake": 1}
    assert written["absent"] == {"n": 1, "real": 0, "fake": 1}
    assert evaluation.result.video.sizes == Sizes(6, 3, 3, 6)
    half = evaluation.result.failed_as_half
    assert half.sizes == Sizes(11, 5, 6, 11)
    rows, _ = read_scores(evaluation.folder / "scores.csv")
    joined = video_scores(rows)
    label, score = [*joined.label, 1, 1, 1, 0, 0], [*joined.score, *[0.5] * 5]
    assert half.measure("auc").value == pytest.approx(roc_auc_score(label, score), abs=1e-12)


def test_several_manifests_make_one_table_in_four_spellings(world: Path, tmp_path: Path) -> None:
    results = evaluate(config_of(world, "val", "test", out=str(tmp_path)))
    names = [result.name for result in results]
    assert all(name.endswith(("tiny-val", "tiny-test")) for name in names)
    rows = json.loads((tmp_path / "across.json").read_text())["rows"]
    assert [row["manifest"] for row in rows] == names
    assert rows[1]["AUC"]["value"] == results[1].result.video.measure("auc").value
    assert (tmp_path / "across.md").read_text().count("\n") == 4
    assert r"\toprule" in (tmp_path / "across.tex").read_text()
    assert (
        (tmp_path / "across.csv").read_text().startswith("manifest,real,fake,AUC,AUC low,AUC high")
    )


@pytest.mark.parametrize("kind", ["manifest", "scores"])
def test_threshold_and_temperature_come_from_validation(
    world: Path, tmp_path: Path, kind: str
) -> None:
    source = world / "manifests" / "tiny" / "val.txt"
    if kind == "scores":
        first = evaluate(config_of(world, "val", out=str(tmp_path / "v")))[0]
        source = first.folder
    out = tmp_path / "o"
    evaluation = evaluate(config_of(world, out=str(out), threshold_from=str(source)))[0]
    fitted = cal.read_calibration(world / "runs" / "0001-clrnet-tiny" / cal.FILE)
    assert not (out / cal.FILE).exists(), "one place, where predict looks"
    assert fitted.videos == 8
    found = evaluation.result.calibrated
    assert (found.threshold, found.temperature) == (fitted.threshold, fitted.temperature)
    rows, _ = read_scores(evaluation.folder / "scores.csv")
    warm = cal.calibrate(video_scores(rows).score, fitted.temperature)
    accuracy = np.mean((warm >= fitted.threshold) == video_scores(rows).label)
    assert found.block.measure("acc").value == pytest.approx(accuracy)
    assert "After calibration" in (evaluation.folder / "report.html").read_text()


def test_a_protocol_is_printed_beside_the_measured_numbers(world: Path, tmp_path: Path) -> None:
    result = evaluate(config_of(world, out=str(tmp_path), protocol="clrnet-paper"))[0]
    page = (result.folder / "report.html").read_text()
    assert "0.992" in page and "[T]" in page and "arXiv 2009.07480" in page
    with pytest.raises(UsageError, match="stil-paper"):
        evaluate(config_of(world, out=str(tmp_path), protocol="nobody"))


def test_short_form_takes_the_newest_run_and_the_test_manifest_beside_its_training(
    world: Path,
) -> None:
    config, taken = defaults(EvaluateConfig(), world / "runs")
    assert Path(config.run).name == "0001-clrnet-tiny"
    assert config.manifests == (str(world / "manifests" / "tiny" / "test.txt"),)
    assert len(taken) >= 2 and "newest" in taken[0]
    with pytest.raises(UsageError, match="no training run"):
        defaults(EvaluateConfig(), world / "nothing")


def pages_below(root: Path) -> dict[str, str]:
    return {
        str(page.parent.relative_to(root)): page.read_text() for page in root.rglob("report.html")
    }


def test_an_evaluation_replaces_none_and_the_name_is_the_newest(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in set(robustness.PERTURBATIONS) - {"CC", "CRF"}:
        monkeypatch.delitem(robustness.PERTURBATIONS, name)
    config = config_of(world, out=str(tmp_path), robust_videos=2, robust_clips=1)
    first = evaluate(replace(config, robustness=True))[0]
    with_robustness = (first.folder / "report.html").read_text()
    second = evaluate(config)[0]
    third = evaluate(replace(config, threshold=0.7))[0]
    assert first.folder == second.folder == third.folder
    pages, name = pages_below(tmp_path), first.folder.name
    assert set(pages) == {name, f"older/{name}-1", f"older/{name}-2"}
    assert pages[f"older/{name}-1"] == with_robustness and 'id="robustness"' in with_robustness
    assert (
        'id="robustness"' not in pages[name] and 'id="robustness"' not in pages[f"older/{name}-2"]
    )
    assert read_evaluation(third.folder).result.options.threshold == 0.7
    assert read_evaluation(tmp_path / "older" / f"{name}-1").robustness is not None


@pytest.mark.parametrize("where", ["scoring", "writing"])
def test_an_evaluation_that_is_stopped_leaves_the_one_before_it_and_nothing_else(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    config = config_of(world, out=str(tmp_path))
    before = evaluate(config)[0]
    page = (before.folder / "report.html").read_bytes()

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if where == "writing":
        monkeypatch.setattr("unmask.pipeline.evaluation.evaluate.evaluation_page", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate(config, stop if where == "scoring" else lambda *_: None)
    assert [path.name for path in tmp_path.iterdir()] == [before.folder.name]
    assert (before.folder / "report.html").read_bytes() == page


def test_tables_across_manifests_are_kept_too(world: Path, tmp_path: Path) -> None:
    config = config_of(world, "val", "test", out=str(tmp_path))
    evaluate(config)
    first = (tmp_path / "across.json").read_bytes()
    evaluate(replace(config, threshold=0.9))
    assert (tmp_path / "older" / "across-1.json").read_bytes() == first
    assert (tmp_path / "across.json").read_bytes() != first


def test_names_of_manifests() -> None:
    assert name_of(Path("/data/manifests/ffpp/c23/test.txt")) == "ffpp-c23-test"
    assert name_of(Path("/data/manifests/mine/test.txt")) == "mine-test"
    assert name_of(Path("/.. odd/na me/t.txt")) == "odd-na-me-t"


def test_a_model_that_answers_nan_is_named_with_its_video(world: Path, tmp_path: Path) -> None:
    from unmask.pipeline.errors import CheckpointError
    from unmask.pipeline.evaluation.inference import Scoring

    model, _ = load_model(open_run(world / "runs" / "0001-clrnet-tiny"))
    source = ClipSource(world / "manifests" / "tiny" / "test.txt", world / "cache", model.spec)
    with torch.no_grad():
        model.head.fc.bias[0] = float("nan")
    with pytest.raises(CheckpointError, match=r"tiny/tiny-key/\w+: the model answers nan"):
        Scoring(model, "cpu").score(source)


def test_robustness_scores_every_distortion_on_the_same_videos(world: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    config = config_of(world, out=str(tmp_path), robustness=True, robust_videos=2, robust_clips=1)
    result = evaluate(config, lambda what, done, total: heard.append(f"{what} {done}/{total}"))[0]
    table = result.robustness
    assert "H.264 crf" in [row[0] for row in table] and len(table) == 8
    assert all(len(row) == 7 and all(0 <= value <= 1 for value in row[1:]) for row in table)
    assert len({row[1] for row in table}) == 1  # the clean column is one and the same
    assert "robustness: CS 1 4/4" in heard and "robustness: CRF 5 4/4" in heard
    page = (result.folder / "report.html").read_text()
    assert "on 4 videos, 1 clips each" in page and "DeeperForensics" in page


def test_perturbations_with_other_numbers_of_levels_and_failing_ones_of_somebody_else(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dark(clip: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
        return (clip * amount).astype(np.uint8)

    def broken(clip: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
        raise OSError("no model for it")

    for name in list(robustness.PERTURBATIONS):
        if name not in ("CC", "CRF"):
            monkeypatch.delitem(robustness.PERTURBATIONS, name)
    for added in (
        robustness.Perturbation("THREE", "three levels", (0.9, 0.5, 0.0), dark, "somebody"),
        robustness.Perturbation("SIX", "six", (0.9, 0.8, 0.7, 0.6, 0.5, 0.4), dark, "somebody"),
        robustness.Perturbation("BAD", "bad", (1.0,), broken, "somebody"),
    ):
        monkeypatch.setitem(robustness.PERTURBATIONS, added.name, added)
    config = config_of(world, out=str(tmp_path), robustness=True, robust_videos=2, robust_clips=1)
    result = evaluate(replace(config, pictures=True))[0]
    table = {row[0]: row[1:] for row in result.robustness}
    assert set(table) == {"colour contrast", "H.264 crf", "three levels", "six"}
    known = {title: sum(v is not None for v in values) for title, values in table.items()}
    assert known == {"colour contrast": 6, "H.264 crf": 6, "three levels": 4, "six": 7}
    assert all(len(values) == 7 for values in table.values())
    # Black crops are all the same, so every pair of a real and a fake is a tie.
    assert table["three levels"][3] == 0.5 and table["three levels"][4:] == (None,) * 3
    page = (result.folder / "report.html").read_text()
    assert "three levels" in page
    assert "BAD of somebody is left out: it fails at level 1: OSError: no model for it" in page

"""Every level has its AUC and what the threshold of clean videos makes of it; level 0 is the clean
score itself.
"""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.cut_videos import cut_cache
from tests.support.trained import CLRNET, make_run
from unmask.models import create_model
from unmask.pipeline.clips import transcode as tc
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import EvaluateConfig
from unmask.pipeline.errors import UsageError
from unmask.pipeline.evaluation import ladder
from unmask.pipeline.evaluation.evaluate import evaluate
from unmask.pipeline.evaluation.inference import Scoring
from unmask.pipeline.evaluation.recut import cut_again
from unmask.pipeline.evaluation.wear import Wear
from unmask.pipeline.runs.run_folder import load_model, open_run
from unmask.pipeline.scores.calibration import Calibration
from unmask.pipeline.scores.results import Options
from unmask.pipeline.scores.table import scores_table

CLEAN = Wear("SAME", "untouched", (("as it is", 0),), lambda s, _, rng: s.clip, lambda n: (3, 3))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn videos, the cache cut from them, and a run that knows those of training."""
    root = tmp_path_factory.mktemp("worn")
    train = cut_cache(root, {"train": 1, "test": 2}) / "train.txt"
    settings = source_of(root).readers[0].attributes["settings"]
    run = root / "runs" / "0001-clrnet"
    make_run(run, train, root / "cache", settings, "clrnet", CLRNET)
    return root


def source_of(root: Path) -> ClipSource:
    spec = create_model("clrnet", **CLRNET).spec
    return ClipSource(root / "manifests" / "test.txt", root / "cache", spec)


def config_of(root: Path, **changes: object) -> EvaluateConfig:
    basic = EvaluateConfig(
        manifests=(str(source_of(root).path),),
        run=str(root / "runs" / "0001-clrnet"),
        cache=str(root / "cache"),
        resamples=50,
        device="cpu",
        explain=0,
        pictures=False,
        robustness=True,
        robust_videos=1,
        robust_clips=2,
    )
    return replace(basic, **changes)


def test_level_0_is_the_clean_score_bit_for_bit(world: Path) -> None:
    source = source_of(world)
    model, _ = load_model(open_run(world / "runs" / "0001-clrnet"))
    scoring = Scoring(model, "cpu", batch=3)
    everything = list(range(len(source)))
    samples = source.evaluation_samples(3)
    again = cut_again(source, everything, samples, CLEAN.around)
    assert again.reasons == {} and sorted(again.origins) == everything
    clean = scoring.score(source, per_video=3).scores
    level_0 = scoring.score(source, per_video=3, change=again.change(CLEAN, 1)).scores
    assert len(clean) == 3 * len(source) and len(set(clean.score)) > 3
    assert np.array_equal(clean.logit, level_0.logit)
    assert np.array_equal(clean.score, level_0.score)


def test_a_video_that_does_not_give_the_cached_pixels_again_is_left_out_with_the_reason(
    world: Path, tmp_path: Path
) -> None:
    shutil.copytree(world / "cache", tmp_path / "cache")
    shutil.copytree(world / "manifests", tmp_path / "manifests")
    source = source_of(tmp_path)
    path = source.readers[0].folder.parent / "index.json"
    index = json.loads(path.read_text())
    gone, other, *_ = [reader.key for reader in source.readers]
    place = {row["key"]: row for row in index["videos"]}
    place[other]["path"] = next(row["path"] for row in index["videos"] if row["key"] != other)
    place[gone]["path"] += ".gone"
    path.write_text(json.dumps(index))
    again = cut_again(source, range(len(source)), source.evaluation_samples(1))
    assert again.reasons == {
        0: "the file is not there any more",
        1: "the file gives other pixels than are cached",
    }
    path.unlink()
    again = cut_again(source, range(len(source)), source.evaluation_samples(1))
    assert not again.origins and len(again.reasons) == len(source)


def test_codecs_rates_and_watermarks_take_part_and_each_kind_has_its_own_levels(
    world: Path, tmp_path: Path
) -> None:
    kinds = ("AV1", "FR", "RS")
    heard: list[str] = []
    config = config_of(world, out=str(tmp_path), robust_kinds=kinds, robust_clips=1)
    done = evaluate(config, lambda what, done, total: heard.append(f"{what} {done}/{total}"))[0]
    levels = {row[0]: sum(v is not None for v in row[1:]) for row in done.robustness}
    assert levels == {
        "AV1 video": 5,
        "frames dropped": 3,
        "down and up": 6,
    }
    assert "robustness: cut again 2/2" in heard and "robustness: AV1 4 2/2" in heard
    page = (done.folder / "report.html").read_text()
    assert "2 of 2 videos gave the cached pixels again" in page
    for said in ("crf 57", "every 3rd", "called fake", "balanced ACC", "What the levels are"):
        assert said in page, said
    with open(done.folder / "robustness.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(levels.values())
    worst = [float(row["PSNR dB"]) for row in rows if row["kind"] == "RS" and row["PSNR dB"]]
    assert len(worst) == 5 and worst == sorted(worst, reverse=True)
    auc = {row[0]: row[1:] for row in done.robustness}
    for row in rows:
        assert float(row["video AUC"]) == auc[row["title"]][int(row["level"])]


def test_a_file_that_goes_while_kinds_are_scored_costs_these_kinds_and_no_other(
    world: Path, tmp_path: Path
) -> None:
    cut_cache(tmp_path, {"test": 1})

    def heard(what: str, done: int, total: int) -> None:
        if what == "robustness: RS 1":
            (tmp_path / "videos" / "r00.mp4").unlink(missing_ok=True)

    model, _ = load_model(open_run(world / "runs" / "0001-clrnet"))
    scoring = Scoring(model, "cpu", progress=heard)
    kinds = ("CC", "H264", "RS")
    found = ladder.Robustness(scoring, Options(resamples=0), 0, 1, kinds).measure(
        source_of(tmp_path)
    )
    assert [kind.name for kind in found.kinds] == ["CC", "H264"]
    assert "RS is left out: r00.mp4: " in found.line
    again = ladder.Robustness(scoring, Options(resamples=0), 0, 1, ("CC", "RS")).measure(
        source_of(tmp_path)
    )
    assert [kind.name for kind in again.kinds] == ["CC"]
    assert "1 did not: the file is not there any more. So these kinds are left out." in again.line


@pytest.mark.slow
def test_every_kind_has_a_row(world: Path, tmp_path: Path) -> None:
    done = evaluate(config_of(world, out=str(tmp_path), robust_clips=1, pictures=True))[0]
    page = (done.folder / "report.html").read_text()
    assert len(done.robustness) == 24
    assert all(page.count(f"<figcaption>{row[0]}<") == 1 for row in done.robustness)
    assert all(None not in row[1:3] for row in done.robustness)


def test_a_kind_that_cannot_be_had_is_refused_before_anything_is_scored(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setitem(tc.ENCODERS, "AV1", replace(tc.ENCODERS["AV1"], library="nothing"))
    for kinds, why in (
        (("VP9", "H266"), "no such kind of wear: 'H266'; known are .*H265, VP9"),
        (("AV1",), r"AV1: the installed PyAV \S+ has no AV1 encoder \(nothing\)"),
    ):
        config = config_of(world, out=str(tmp_path / "no"), robust_kinds=kinds)
        with pytest.raises(UsageError, match=why):
            evaluate(config, lambda what, done, total: heard.append(what))
    assert heard == [] and not (tmp_path / "no").exists()


def suite(**changes: object) -> ladder.Robustness:
    return ladder.Robustness(None, Options(resamples=0), 0, 0, **changes)


def test_a_model_that_calls_everything_fake_keeps_its_auc_and_is_seen() -> None:
    label, score = [0, 0, 1, 1], np.array([0.1, 0.3, 0.6, 0.9])
    names = {"video_id": list("abcd"), "method": ["real", "real", "swap", "talk"]}
    clean = suite().step_of(scores_table(label=label, score=score, **names), "clean")
    worn = suite().step_of(scores_table(label=label, score=score / 3 + 0.6, **names), "worn")
    assert clean.values == {"video AUC": 1.0, "balanced ACC": 1.0, "called fake": 0.5}
    assert worn.values == {"video AUC": 1.0, "balanced ACC": 0.5, "called fake": 1.0}
    assert clean.methods == {"swap": 1.0, "talk": 1.0}


def test_a_calibration_decides_with_its_own_threshold() -> None:
    names = {"video_id": list("abcd"), "label": [0, 0, 1, 1]}
    scores = scores_table(score=[0.1, 0.3, 0.4, 0.9], **names)
    plain = Calibration(temperature=1.0, threshold=0.35)
    assert suite().step_of(scores, "").values["balanced ACC"] == 0.75
    assert suite(calibration=plain).step_of(scores, "").values["balanced ACC"] == 1.0
    flat = replace(plain, temperature=2.0)  # sigmoid(logit(0.3) / 2) = 0.396
    assert suite(calibration=flat).step_of(scores, "").values["called fake"] == 0.75


def test_a_table_of_kinds_with_other_numbers_of_levels() -> None:
    def kind(title: str, *values: float | None) -> ladder.Kind:
        told = [
            ladder.Step(
                f"level {n}", dict.fromkeys(("video AUC", "balanced ACC", "called fake"), v), {}
            )
            for n, v in enumerate(values)
        ]
        return ladder.Kind(title[:2], title, 4, tuple(told))

    found = ladder.Ladder(
        (kind("two", 0.9, 0.8, 0.7), kind("four", 0.9, 0.6, 0.5, 0.4, None)), 0.5, ""
    )
    assert found.header == ("clean", "1", "2", "3", "4")
    assert found.rows == (("two", 0.9, 0.8, 0.7, None, None), ("four", 0.9, 0.6, 0.5, 0.4, None))
    title, levels = found.tables[-1]
    assert title == "What the levels are" and levels.rows[0][-1] == "–"
    assert len(found.pictures()) == 2 and len(found.long.rows) == 8

"""predict walks the road of training: its scores are evaluate's, a bad video is an answer, a long
one fits.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tests.support.trained import CLRNET, SMALL, XCEPTION, extract_drawn, make_run
from unmask.pipeline.config import EvaluateConfig, PredictConfig
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video
from unmask.pipeline.errors import CheckpointError, UsageError
from unmask.pipeline.evaluation.evaluate import evaluate
from unmask.pipeline.extraction.reference import reference_of
from unmask.pipeline.prediction.inputs import expand
from unmask.pipeline.prediction.predict import open_scorers, predict
from unmask.pipeline.runs.run_folder import open_run
from unmask.pipeline.scores import calibration as cal
from unmask.pipeline.scores.calibration import DEFAULT, Calibration, calibrate
from unmask.pipeline.scores.csv_file import read_scores


@pytest.fixture(scope="module")
def world(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cache, manifests and two runs: CLRNet and an Xception-LSTM that chains two clips."""
    root = tmp_path_factory.mktemp("predict")
    manifests = extract_drawn(drawn, root)
    (root / "lists").symlink_to(manifests)
    settings = SMALL.settings()
    make_run(root / "clrnet", manifests / "train.txt", root / "cache", settings, "clrnet", CLRNET)
    make_run(
        root / "xlstm",
        manifests / "train.txt",
        root / "cache",
        settings,
        "xception_lstm",
        XCEPTION,
        seed=1,
    )
    return root


def config_of(world: Path, *runs: str, **more: object) -> PredictConfig:
    return PredictConfig(
        models=tuple(str(world / run) for run in runs or ("clrnet",)), device="cpu", **more
    )


def video_of(drawn: Path, number: int = 0) -> Path:
    return sorted((drawn / "original_sequences/youtube/c23/videos").glob("*.mp4"))[number]


@pytest.mark.parametrize("run", ["clrnet", "xlstm"])
def test_scores_are_those_of_evaluate_to_some_millionths(
    world: Path, drawn: Path, tmp_path: Path, run: str
) -> None:
    config = EvaluateConfig(
        manifests=(str(world / "lists" / "test.txt"),),
        run=str(world / run),
        cache=str(world / "cache"),
        out=str(tmp_path),
        resamples=0,
        explain=0,
        pictures=False,
        device="cpu",
    )
    rows, _ = read_scores(evaluate(config)[0].folder / "scores.csv")
    predicting = config_of(world, run)
    scorers = open_scorers(predicting)
    compared = 0  # float32 in batches of another size: 1.05e-6 was seen
    for folder in ("original_sequences/youtube", "manipulated_sequences/Deepfakes"):
        method = "real" if folder.startswith("original") else "Deepfakes"
        for path in sorted((drawn / folder / "c23/videos").glob("*.mp4")):
            mine = (rows.method == method) & np.array(
                [str(name).endswith(path.stem) for name in rows.video_id]
            )
            if not mine.any():
                continue
            found = predict(path, scorers, predicting).prediction
            points = found.tracks[0].points[0]
            assert [point.score for point in points] == pytest.approx(
                rows.score[mine].tolist(), abs=3e-6
            )
            assert found.members[0].raw == pytest.approx(rows.score[mine].mean(), abs=3e-6)
            compared += 1
    assert compared == 4
    assert np.ptp(rows.score) > 1e-4, "equal scores would prove nothing"


def test_an_ensemble_is_the_mean_of_its_calibrated_members(world: Path, drawn: Path) -> None:
    config = config_of(world, "clrnet", "xlstm")
    scorers = open_scorers(config)
    warm = replace(scorers[1], calibration=Calibration(0.25, 0.3, (0.2, 0.4)))
    both = predict(video_of(drawn), [scorers[0], warm], config).prediction
    alone = [predict(video_of(drawn), [s], config).prediction for s in (scorers[0], warm)]
    assert both.score == pytest.approx(np.mean([p.score for p in alone]), abs=1e-9)
    assert alone[1].score == pytest.approx(
        float(calibrate(np.float64(alone[1].members[0].raw), 0.25)), abs=1e-9
    )
    assert [member.name for member in both.members] == ["clrnet", "xlstm"]
    assert (both.threshold, both.unsure) == (pytest.approx(0.4), pytest.approx((0.3, 0.5)))


def test_crops_of_other_settings_make_no_ensemble(world: Path, tmp_path: Path) -> None:
    other = replace(SMALL, margin=1.5).settings()
    make_run(
        tmp_path / "other", world / "lists" / "train.txt", world / "cache", other, "clrnet", CLRNET
    )
    with pytest.raises(UsageError, match=r"margin 1\.5 and 1\.3"):
        open_scorers(
            PredictConfig(models=(str(world / "clrnet"), str(tmp_path / "other")), device="cpu")
        )


def test_settings_come_from_the_cache_where_run_json_does_not_know_them(
    world: Path, tmp_path: Path
) -> None:
    folder = make_run(
        tmp_path / "old", world / "lists" / "train.txt", world / "cache", None, "clrnet", CLRNET
    )
    assert (
        open_scorers(PredictConfig(models=(str(folder),), device="cpu"))[0].crop.clips
        == SMALL.clips
    )
    document = json.loads((folder / "run.json").read_text())
    document["config"]["cache"] = str(tmp_path / "gone")
    document["places"]["cache"] = "gone"
    (folder / "run.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="--cache"):
        open_scorers(PredictConfig(models=(str(folder),), device="cpu"))
    again = open_scorers(
        PredictConfig(models=(str(folder),), cache=str(world / "cache"), device="cpu")
    )
    assert again[0].crop.size == SMALL.size
    assert open_run(folder).key == SMALL.cache_key(reference_of(SMALL))


def test_calibration_is_the_runs_own_else_the_documented_default(
    world: Path, tmp_path: Path
) -> None:
    folder = make_run(
        tmp_path / "r",
        world / "lists" / "train.txt",
        world / "cache",
        SMALL.settings(),
        "clrnet",
        CLRNET,
    )
    config = PredictConfig(models=(str(folder),), device="cpu")
    assert open_scorers(config)[0].calibration == DEFAULT
    assert (DEFAULT.threshold, DEFAULT.unsure, DEFAULT.temperature) == (0.5, (0.4, 0.6), 1.0)
    fitted = Calibration(2.0, 0.7, (0.6, 0.8), "eer", 0.05, 9, "val")
    (folder / cal.FILE).write_text(cal.as_json(fitted))
    assert open_scorers(config)[0].calibration == fitted


def test_what_cannot_be_scored_is_an_answer(world: Path, drawn: Path, tmp_path: Path) -> None:
    config = config_of(world)
    scorers = open_scorers(config)
    frames = [picture for picture, _ in draw_frames(draw_identity(1), 2, (160, 120))]
    encode_video(tmp_path / "short.mp4", frames)
    rng = np.random.default_rng(0)
    encode_video(tmp_path / "noise.mp4", list(rng.integers(0, 255, (12, 120, 160, 3), np.uint8)))
    (tmp_path / "text.mp4").write_text("no video")
    found = {
        name: predict(tmp_path / name, scorers, config).prediction
        for name in ("short.mp4", "noise.mp4", "text.mp4", "gone.mp4")
    }
    assert [(p.verdict, p.code) for p in found.values()] == [
        ("too short", "too_short"),
        ("no face", "no_face"),
        ("unreadable", "not_a_video"),
        ("unreadable", "missing"),
    ]
    assert all(p.score is None and p.reason for p in found.values())


def test_inputs_are_files_folders_and_globs_each_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/x.mp4", "a/y.webm", "a/notes.txt", "z.mov"):
        (tmp_path / name).write_bytes(b"")
    got = expand(
        [str(tmp_path / "a"), str(tmp_path / "a" / "x.mp4"), str(tmp_path / "*.mov"), "gone.mp4"]
    )
    assert [path.name for path in got] == ["x.mp4", "y.webm", "z.mov", "gone.mp4"]
    with pytest.raises(UsageError, match="no file matches"):
        expand([str(tmp_path / "*.avi")])


def test_a_dense_timeline_covers_the_video_and_follows_one_person(world: Path, drawn: Path) -> None:
    config = config_of(world, every=0.1, segment=3)
    found = predict(video_of(drawn), open_scorers(config), config, moments=True)
    (track,) = found.prediction.tracks
    points = track.points[0]
    assert len(points) == round(found.prediction.duration / 0.1)
    assert points[0].start < 0.2 and points[-1].end > found.prediction.duration - 0.2
    assert np.diff([point.start for point in points]).min() > 0
    assert found.moments[0] and max(m.score for m in found.moments[0]) == max(
        point.score for point in points
    )


def test_stretches_change_no_score(world: Path, drawn: Path) -> None:
    scores = []
    for segment in (2, 5, 100):
        config = config_of(world, "xlstm", every=0.1, segment=segment)
        (track,) = predict(video_of(drawn, 1), open_scorers(config), config).prediction.tracks
        scores.append([point.score for point in track.points[0]])
    assert len(scores[0]) > 2
    # Stretches of other lengths make other detector batches, whose last bit may differ and move a
    # pixel by a level.
    for other in scores[:2]:
        assert other == pytest.approx(scores[2], rel=0.03, abs=1e-6)


def test_two_persons_stay_two_over_stretches(world: Path, tmp_path: Path) -> None:
    sides = [draw_frames(draw_identity(seed), 24, (240, 240), seed=seed) for seed in (2, 9)]
    pictures = [np.hstack([left, right]) for (left, _), (right, _) in zip(*sides, strict=True)]
    encode_video(tmp_path / "two.mp4", pictures)
    config = config_of(world, every=0.12, segment=3, faces="all")
    found = predict(tmp_path / "two.mp4", open_scorers(config), config).prediction
    assert len(found.tracks) == 2
    for track in found.tracks:
        middles = np.array([(box[0] + box[2]) / 2 for box in track.box])
        assert (middles < 240).all() or (middles > 240).all()
    assert found.members[0].raw == max(track.score[0] for track in found.tracks)
    main = config_of(world)
    alone = predict(tmp_path / "two.mp4", open_scorers(main), main).prediction
    assert len(alone.tracks) == 1
    assert "other_persons" in alone.flags and "--faces all" in alone.reason


@pytest.mark.slow
def test_an_hour_needs_bounded_memory(world: Path, tmp_path: Path) -> None:
    import resource

    minute = tmp_path / "minute.mp4"
    base = [picture for picture, _ in draw_frames(draw_identity(5), 250, (640, 480), seed=5)]
    encode_video(minute, (base + base[::-1]) * 3, keyint=125)
    repeat(minute, tmp_path / "hour.mp4", 60)
    config = config_of(world, every=5)
    found = predict(tmp_path / "hour.mp4", open_scorers(config), config, moments=True).prediction
    assert found.duration > 3500 and len(found.tracks[0].pts) > 600
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1.5 * 2**20


def repeat(source: Path, target: Path, times: int) -> None:
    """The same packets again and again, without encoding."""
    with av.open(str(target), "w") as out:
        stream, offset = None, 0
        for _ in range(times):
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                stream = stream or out.add_stream_from_template(video)
                end = 0
                for packet in container.demux(video):
                    if packet.dts is None:
                        continue
                    end = max(end, packet.pts + packet.duration)
                    packet.pts, packet.dts, packet.stream = (
                        packet.pts + offset,
                        packet.dts + offset,
                        stream,
                    )
                    out.mux(packet)
                offset += end

"""A partly fake video is fake where its owners say, in training as in evaluation; truths are
written by hand.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.support.tiny_cache import draw_video, write_one
from tests.support.tiny_run import make_run
from unmask.models.spec import ClipSpec
from unmask.pipeline.clips.batches import batches
from unmask.pipeline.clips.frame_labels import clip_label, frame_labels
from unmask.pipeline.clips.plans import training_plan
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.config import EvaluateConfig
from unmask.pipeline.errors import ScoresError
from unmask.pipeline.evaluation.evaluate import evaluate
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.scores.csv_file import read_scores, write_scores
from unmask.pipeline.scores.evaluate_scores import evaluate_scores
from unmask.pipeline.scores.results import Options
from unmask.pipeline.scores.table import scores_table
from unmask.pipeline.sources.layouts.forgerynet import parse_line

OPTIONS = Options(resamples=20)


def cached(
    index: list[list[int]], rate: float = 25.0, start: float = 0.0, **spans: object
) -> dict[str, object]:
    pts = (np.array(index) / rate + start).tolist()
    return {"index": index, "pts": pts, "media": {"fps": rate, "start": start}, **spans}


def test_lavdf_seconds() -> None:
    """25 fps; the word lasts from 0.44 to 0.80 s, that is the frames 11 to 19."""
    index = [[8, 9, 10], [10, 11, 12], [14, 15, 16], [18, 19, 20], [20, 21, 22]]
    truth = frame_labels(cached(index, fake_spans=[[0.44, 0.8]]), FAKE)
    assert truth.tolist() == [[0, 0, 0], [0, 1, 1], [1, 1, 1], [1, 1, 0], [0, 0, 0]]


def test_seconds_count_from_the_first_frame_whatever_the_container_calls_it() -> None:
    """A transport stream starts at 1.4 s; 29.97 fps, so 0.5 to 1.0 s are the frames 15 (0.5005) to
    29 (0.9676).
    """
    index = [[14, 15], [28, 29], [29, 30]]
    truth = frame_labels(cached(index, 30000 / 1001, 1.4, fake_spans=[[0.5, 1.0]]), FAKE)
    assert truth.tolist() == [[0, 1], [1, 1], [1, 0]]


def test_forgerynet_frames() -> None:
    """Two segments of three: 30 real frames, 20 fake ones from number 30, 50 real ones."""
    name, label, frames = parse_line("3 a/b.mp4 0 30 0 30 20 1 50 50 0 1 1 5")
    assert (name, label, frames) == ("a/b.mp4", FAKE, ((30, 50),))
    truth = frame_labels(
        cached([[28, 29, 30], [48, 49, 50], [50, 51, 52]], fake_frames=frames), FAKE
    )
    assert truth.tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    "label, spans", [(FAKE, {}), (FAKE, {"fake_spans": []}), (REAL, {"fake_spans": [[0, 9]]})]
)
def test_without_spans_and_in_a_real_the_label_of_the_video_holds(label: int, spans: dict) -> None:
    assert frame_labels(cached([[0, 1]], **spans), label) is None
    assert clip_label(None, label, [(0, 0)]) == label


def test_a_sample_is_fake_when_one_of_its_frames_is() -> None:
    truth = np.array([[0, 0], [0, 1]])
    assert [
        clip_label(truth, FAKE, picks) for picks in ([(0, 0), (0, 1)], [(1, 0), (1, 1)], [(1, 0)])
    ] == [0, 1, 0]


# The sampler

PARTLY = np.array(
    [[0, 0, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]
)
LABELS = np.array([REAL] * 4 + [FAKE] * 4)
# A wholly fake one, two partly fake ones, and one whose cached clips all miss its span.
TRUTH = [None] * 4 + [None, PARTLY, PARTLY[::-1].copy(), np.zeros((8, 3), int)]
SPECS = [ClipSpec("consecutive", 3), ClipSpec("consecutive", 2), ClipSpec("single", 1)]
SPECS += [
    ClipSpec("sparse", 4),
    ClipSpec("sparse", 16),
    ClipSpec("chained", 6),
    ClipSpec("chained", 30),
    ClipSpec("runs", 8, run=2),
]


def samples_of(spec: ClipSpec, balance: str, epochs: int = 6, **options: object) -> list:
    pairs = [None] * 4 + [0, 1, 2, 3]
    batches = [
        training_plan(
            spec,
            LABELS,
            pairs,
            [(8, 3)] * 8,
            batch=4,
            seed=1,
            epoch=epoch,
            balance=balance,
            **options,
        )
        for epoch in range(epochs)
    ]
    return [sample for epoch in batches for batch in epoch for sample in batch]


@pytest.mark.parametrize("balance", ["balanced", "paired"])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.mode}{spec.frames}")
def test_where_classes_are_balanced_every_fake_shows_something_fake(
    spec: ClipSpec, balance: str
) -> None:
    samples = samples_of(spec, balance, truth=TRUTH)
    labels = [clip_label(TRUTH[s.video], int(LABELS[s.video]), s.picks) for s in samples]
    assert labels == [REAL, FAKE] * (len(samples) // 2)
    assert {s.video for s in samples if LABELS[s.video] == FAKE} == {4, 5, 6}
    for sample in samples:
        assert len(sample.picks) == spec.frames and list(sample.picks) == sorted(sample.picks)


def test_all_fake_clips_have_their_turn() -> None:
    samples = samples_of(SPECS[0], "balanced", 20, truth=TRUTH)
    assert {s.picks[0][0] for s in samples if s.video == 5} == {1, 2, 5}


def test_without_balance_every_clip_comes_as_what_it_is() -> None:
    samples = samples_of(SPECS[0], "none", 1, all_clips=True, truth=TRUTH)
    assert Counter(s.video for s in samples) == dict.fromkeys(range(8), 8)
    assert sum(clip_label(TRUTH[5], FAKE, s.picks) for s in samples if s.video == 5) == 3


def test_datasets_without_spans_are_drawn_as_before() -> None:
    assert samples_of(SPECS[0], "balanced") == samples_of(SPECS[0], "balanced", truth=[None] * 8)


# The road behind the cache


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three reals; three fakes of 4 clips of 3 frames at 25 fps whose frames 3 to 5 (0.12 to 0.24
    s) are fake.
    """
    root, entries = tmp_path_factory.mktemp("spans"), []
    for number in range(3):
        real, fake = draw_video(number, REAL), draw_video(number, FAKE)
        mask = np.full(fake.shape[:4], 255, np.uint8)
        partly = np.concatenate([real[:1], fake[1:2], real[2:]])
        media = {"media": {"fps": 25.0, "start": 0.0}, "split": "test"}
        pair = {"pair": f"r{number}", "fake_spans": [[0.12, 0.24]], "method": "visual"}
        entries.append(write_one(root / "cache", f"r{number}", real, REAL, **media))
        entries.append(write_one(root / "cache", f"f{number}", partly, FAKE, mask, **media, **pair))
    write_manifest(root / "test.txt", entries)
    make_run(root / "run", root / "cache", root / "test.txt")
    return root


def test_batches_carry_each_clips_own_label_and_no_mask_where_it_is_real(world: Path) -> None:
    source = ClipSource(
        world / "test.txt", world / "cache", ClipSpec("consecutive", 3, size=32, masks=True)
    )
    (raw,) = batches(source, [source.evaluation_samples()])
    expected = [0, 0, 0, 0, 0, 1, 0, 0] * 3
    assert raw.label.tolist() == expected
    assert raw.masks.flatten(1).bool().any(1).tolist() == [bool(label) for label in expected]
    assert source.labels.tolist() == [0, 1] * 3


def test_clips_count_by_their_own_label_and_videos_by_the_videos(
    world: Path, tmp_path: Path
) -> None:
    config = EvaluateConfig(
        (str(world / "test.txt"),),
        str(world / "run"),
        cache=str(world / "cache"),
        out=str(tmp_path),
        resamples=20,
        device="cpu",
        explain=1,
        pictures=False,
        allow_leakage=True,
    )
    (done,) = evaluate(config)
    with (done.folder / "scores.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["row_label"] for line in lines] == ["", "", "", "", "0", "1", "0", "0"] * 3
    assert [line["label"] for line in lines] == ["0"] * 4 + ["1"] * 4 + (["0"] * 4 + ["1"] * 4) * 2
    clip = done.result.levels["clip"]
    assert (clip.sizes.real, clip.sizes.fake) == (21, 3)
    assert (done.result.video.sizes.real, done.result.video.sizes.fake) == (3, 3)
    own = [int(line["row_label"] or line["label"]) for line in lines]
    score = [float(line["score"]) for line in lines]
    assert clip.measure("auc").value == roc_auc_score(own, score)
    assert done.result.rows_by["method"]["visual"].sizes.fake == 3
    rows, _ = read_scores(done.folder / "scores.csv")
    write_scores(tmp_path / "again.csv", rows)
    assert (tmp_path / "again.csv").read_bytes() == (done.folder / "scores.csv").read_bytes()


def test_files_of_others_need_no_such_column_and_a_contradiction_is_told(tmp_path: Path) -> None:
    plain = scores_table(
        video_id=["a", "a", "b", "b"],
        label=[0, 0, 1, 1],
        clip=[0, 1] * 2,
        score=[0.1, 0.4, 0.8, 0.3],
    )
    write_scores(tmp_path / "plain.csv", plain)
    assert b"row_label" not in (tmp_path / "plain.csv").read_bytes()
    assert evaluate_scores(plain, OPTIONS).levels["clip"].sizes.fake == 2
    for rows, why in (("a,0,0.1,1", "row_label 1"), ("a,1,0.1,2", "row_label '2'")):
        (tmp_path / "bad.csv").write_text(f"video_id,label,score,row_label\n{rows}\n")
        with pytest.raises(ScoresError, match=f"bad.csv:2: {why}"):
            read_scores(tmp_path / "bad.csv")


def test_intervals_draw_partly_fake_videos_as_a_class_of_their_own() -> None:
    """Every resample keeps 2 real, 2 partly fake and 2 fake videos, so the number of clips of a
    class never moves.
    """
    own = np.array([0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 1])
    video = [1] * 4 + [2] * 4 + [3] * 4
    rows = scores_table(
        video_id=[f"v{n // 2}" for n in range(12)],
        label=(np.array(video) > 1).astype(int),
        clip=[0, 1] * 6,
        score=np.where(own == 1, 0.9, 0.1),
        row_label=np.where(np.array(video) == 2, own, -1),
    )
    metrics = evaluate_scores(rows, Options(resamples=200)).levels["clip"].metrics
    assert metrics["auc"].value == metrics["auc"].low == 1.0
    assert metrics["acc"].low == 1.0

"""Plans: every mode takes its paper's frames, classes and pairs come out even, everything follows
from a seed.
"""

import zlib
from collections import Counter
from itertools import product
from typing import get_args, get_type_hints

import numpy as np
import pytest

from unmask.models.spec import ClipSpec
from unmask.pipeline.clips.plans import share, training_plan
from unmask.pipeline.clips.samples import MODES, evaluation_picks, mode_of
from unmask.pipeline.errors import CacheError, UsageError

CONSECUTIVE = ClipSpec("consecutive", 5)
LABELS = np.array([0] * 3 + [1] * 9)
PAIRS = [None] * 3 + [0, 1, 2] * 3
SHAPES = [(16, 5)] * 12


def plan(spec=CONSECUTIVE, labels=LABELS, pairs=PAIRS, shapes=None, **options):
    return training_plan(
        spec,
        labels,
        pairs,
        shapes or [(16, 5)] * len(labels),
        **{"batch": 4, "seed": 1, "epoch": 0} | options,
    )


def test_evaluation_shows_all_clips_of_a_consecutive_model():
    assert evaluation_picks(CONSECUTIVE, 16, 5) == [
        tuple((clip, t) for t in range(5)) for clip in range(16)
    ]


def test_a_shorter_model_takes_the_first_frames_of_each_clip():
    assert evaluation_picks(ClipSpec("consecutive", 3), 2, 5) == [
        ((0, 0), (0, 1), (0, 2)),
        ((1, 0), (1, 1), (1, 2)),
    ]


def test_sparse_8_of_16_clips_gives_the_even_and_the_odd_clips_centres():
    first, second = evaluation_picks(ClipSpec("sparse", 8), 16, 5)
    assert first == tuple((clip, 2) for clip in range(0, 16, 2))
    assert second == tuple((clip, 2) for clip in range(1, 16, 2))


def test_sparse_16_takes_every_centre_once():
    assert evaluation_picks(ClipSpec("sparse", 16), 16, 5) == [
        tuple((clip, 2) for clip in range(16))
    ]


def test_chained_30_is_six_whole_clips_spread_over_the_video():
    (only,) = evaluation_picks(ClipSpec("chained", 30), 16, 5)
    assert [clip for clip, _ in only][::5] == [0, 3, 6, 9, 12, 15]
    assert [frame for _, frame in only] == [0, 1, 2, 3, 4] * 6


RUNS = ClipSpec("runs", 32, run=4)


def test_runs_of_4_in_8_parts_are_the_first_frames_of_the_even_clips():
    (only,) = evaluation_picks(RUNS, 16, 5)
    assert only == tuple((clip, frame) for clip in range(0, 16, 2) for frame in range(4))
    (every,) = evaluation_picks(ClipSpec("runs", 64, run=4), 16, 5)
    assert every == tuple((clip, frame) for clip in range(16) for frame in range(4))


def test_runs_in_training_begin_anywhere_in_either_clip_of_a_part():
    seen = set()
    for epoch in range(4):
        for sample in (sample for batch in plan(RUNS, epoch=epoch) for sample in batch):
            runs = [sample.picks[start : start + 4] for start in range(0, 32, 4)]
            assert [run[0][0] // 2 for run in runs] == list(range(8))
            assert all(run == tuple((run[0][0], run[0][1] + k) for k in range(4)) for run in runs)
            seen |= {(run[0][0] % 2, run[0][1]) for run in runs}
    assert seen == {(clip, first) for clip in (0, 1) for first in (0, 1)}


def test_runs_of_a_video_with_too_few_clips_come_twice():
    (only,) = evaluation_picks(RUNS, 3, 5)
    assert [clip for clip, _ in only[::4]] == [0, 0, 1, 1, 1, 1, 2, 2] and len(only) == 32


def test_a_run_longer_than_the_cached_clips_is_refused():
    with pytest.raises(CacheError, match="eats runs of 4 frames, the cached clips have 3"):
        evaluation_picks(RUNS, 16, 3)


def test_single_takes_each_clips_centre_frame():
    assert evaluation_picks(ClipSpec("single", 1), 16, 5) == [((clip, 2),) for clip in range(16)]


@pytest.mark.parametrize("clips", [1, 2, 5, 7])
@pytest.mark.parametrize("mode, frames", [("sparse", 8), ("chained", 30)])
def test_a_video_with_too_few_clips_still_gives_all_frames_in_time_order(mode, frames, clips):
    (only,) = evaluation_picks(ClipSpec(mode, frames), clips, 5)
    assert len(only) == frames and list(only) == sorted(only) and only[-1][0] == clips - 1


def test_a_model_longer_than_the_cached_clips_is_refused():
    with pytest.raises(CacheError, match="extract again with --frames 8"):
        evaluation_picks(ClipSpec("consecutive", 8), 16, 5)


@pytest.mark.parametrize(
    "spec",
    [
        CONSECUTIVE,
        ClipSpec("sparse", 8),
        ClipSpec("chained", 30),
        ClipSpec("single", 1),
        ClipSpec("runs", 32, run=4),
    ],
    ids=lambda s: s.mode,
)
def test_training_samples_are_in_time_order_and_inside_the_video(spec):
    for batch in plan(spec):
        for sample in batch:
            assert len(sample.picks) == spec.frames and list(sample.picks) == sorted(sample.picks)
            assert all(0 <= clip < 16 and 0 <= frame < 5 for clip, frame in sample.picks)


def test_sparse_training_takes_one_frame_of_each_pair_of_clips():
    for batch in plan(ClipSpec("sparse", 8)):
        for sample in batch:
            assert [clip // 2 for clip, _ in sample.picks] == list(range(8))


def test_balanced_batches_alternate_and_the_smaller_class_repeats_evenly_with_other_clips():
    samples = [sample for batch in plan(balance="balanced") for sample in batch]
    assert LABELS[[sample.video for sample in samples]].tolist() == [0, 1] * 9
    counts = Counter(sample.video for sample in samples)
    assert [counts[video] for video in range(12)] == [3] * 3 + [1] * 9
    for video in range(3):
        assert len({sample.picks for sample in samples if sample.video == video}) == 3


def test_paired_batches_hold_each_fake_beside_its_own_original():
    samples = [sample.video for batch in plan(balance="paired") for sample in batch]
    assert sorted(samples[1::2]) == list(range(3, 12))
    assert all(PAIRS[fake] == real for real, fake in zip(samples[::2], samples[1::2], strict=True))


def test_a_fake_without_its_original_here_is_still_trained_on():
    pairs = [*PAIRS[:11], None]
    samples = [sample.video for batch in plan(balance="paired", pairs=pairs) for sample in batch]
    assert sorted(samples[1::2]) == list(range(3, 12)) and set(samples[::2]) <= {0, 1, 2}


def test_without_balance_every_video_comes_once_and_with_all_clips_every_clip():
    assert sorted(s.video for b in plan(balance="none") for s in b) == list(range(12))
    shapes = [(video % 3 + 1, 5) for video in range(12)]
    taken = [
        (s.video, s.picks[0][0])
        for b in plan(balance="none", all_clips=True, shapes=shapes)
        for s in b
    ]
    assert sorted(taken) == [(video, clip) for video in range(12) for clip in range(video % 3 + 1)]


def test_all_clips_of_a_model_on_single_pictures_are_all_cached_frames_once():
    shapes = [(video % 3 + 1, 5) for video in range(12)]
    single = ClipSpec("single", 1)
    batches = plan(single, balance="none", all_clips=True, shapes=shapes)
    taken = [(s.video, *s.picks[0]) for batch in batches for s in batch]
    assert sorted(taken) == [
        (video, clip, frame)
        for video in range(12)
        for clip in range(video % 3 + 1)
        for frame in range(5)
    ]


def test_batches_are_of_nearly_equal_size_so_that_none_has_one_sample():
    sizes = [
        len(batch)
        for batch in plan(balance="none", labels=np.arange(17) % 2, pairs=[None] * 17, batch=16)
    ]
    assert sizes == [9, 8]


def test_a_plan_is_a_function_of_seed_and_epoch():
    assert plan() == plan()
    assert plan() != plan(seed=2) and plan() != plan(epoch=1)
    assert (
        len({sample.seed for epoch in range(4) for b in plan(epoch=epoch) for sample in b})
        == 4 * 18
    )


# crc32 of the plans below, made before each mode became a class of its own: a run that is resumed
# makes its plans again, so they never move. Single pictures moved once, when all clips became all
# frames.
PLANS = {
    ("consecutive", 3): 2729203262,
    ("consecutive", 2): 1769002029,
    ("single", 1): 1310505493,
    ("sparse", 4): 1975192962,
    ("sparse", 16): 1212695054,
    ("chained", 6): 2734279835,
    ("chained", 30): 3724573953,
}


@pytest.mark.parametrize("mode, frames", PLANS)
def test_plans_of_earlier_runs_are_made_again_to_the_last_sample(mode, frames):
    truth, rng = [None] * 8, np.random.default_rng(11)
    for video in (5, 6, 7):
        truth[video] = (rng.random((8, 3)) < 0.3).astype(np.int64)
    truth[7][:] = 0  # a fake of which no cached clip is fake
    found = ""
    for own, balance, all_clips in product(
        ((), truth), ("balanced", "paired", "none"), (False, True)
    ):
        batches = [
            batch
            for epoch in range(3)
            for batch in plan(
                ClipSpec(mode, frames),
                np.array([0] * 4 + [1] * 4),
                [None] * 4 + [0, 1, 2, 3],
                [(8, 3)] * 8,
                epoch=epoch,
                balance=balance,
                all_clips=all_clips,
                truth=own,
            )
        ]
        found += repr([[(s.video, s.picks, s.seed) for s in batch] for batch in batches])
    assert zlib.crc32(found.encode()) == PLANS[mode, frames]


def test_each_mode_says_how_many_clips_a_sample_takes_and_what_names_it():
    assert {name: mode.clips_for_one(8, 5) for name, mode in MODES.items()} == {
        "consecutive": 1,
        "sparse": 8,
        "chained": 2,
        "single": 1,
        "runs": 8,
    }
    assert mode_of(ClipSpec("runs", 32, run=4)).clips_for_one(32, 5) == 8
    assert [name for name, mode in MODES.items() if mode.in_one_clip] == ["consecutive", "single"]
    assert [name for name, mode in MODES.items() if mode.of_one_frame] == ["single"]
    assert set(MODES) == set(get_args(get_type_hints(ClipSpec)["mode"]))


def test_processes_and_parts_share_a_batch_without_loss():
    batch = plan(balance="none", batch=12)[0]
    parts = [part for rank in range(2) for part in share(batch, rank, 2, 2)]
    assert [sample for part in parts for sample in part] == batch
    with pytest.raises(UsageError, match="cannot be shared by 4 processes"):
        share(batch[:3], 0, 4, 1)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"balance": "even"}, "not one of balanced"),
        ({"labels": np.zeros(4, int), "pairs": [None] * 4}, "4 real and 0 fake"),
        ({"balance": "paired", "pairs": [None] * 12}, "there is none"),
        ({"batch": 1}, "at least 2 samples"),
    ],
)
def test_impossible_plans_are_refused_in_words(options, words):
    with pytest.raises(UsageError, match=words):
        plan(**options)

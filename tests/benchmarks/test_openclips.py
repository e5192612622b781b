"""Open clips: the list, who lies in which panel, what the baselines measure, and the tables."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.openclips.__main__ import gate_of, main, row_of
from benchmarks.openclips.areas import area, by_kind
from benchmarks.openclips.baselines import left_out, sharpness
from benchmarks.openclips.clips import Clip, find_files, in_panel, read_list
from unmask.pipeline.errors import UsageError


def clip(file: str, fake: bool, group: str, kind: str = "swap", pair: str = "") -> Clip:
    return Clip(file, fake, kind if fake else "real", group, pair, False, (0, 1), 100)


def test_every_row_of_the_list_is_whole_and_says_where_it_is_from() -> None:
    clips = read_list()
    assert len({one.file for one in clips}) == len(clips) == 48
    text = (Path(__file__).parents[2] / "benchmarks" / "openclips" / "clips.csv").read_text()
    for line in text.splitlines()[1:]:
        assert re.search(r",[\w.-]+/[\w.-]+,[0-9a-f]{40},", line), line
    paired = {one.pair for one in clips if one.pair}
    for pair in paired:
        inside = [one for one in clips if one.pair == pair]
        assert {one.fake for one in inside} == {True, False}
        assert len({one.group for one in inside}) == 1
    # swaps that were made by hand are a regression test, never a proof
    assert not any(one.counts for one in clips)


@pytest.mark.parametrize("row", ["a.mp4,maybe,swap,p,,no,,100", "a.mp4,real,real,p,,no,1 0,100"])
def test_a_line_that_is_no_clip_is_named(tmp_path, row) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"file,label,kind,group,pair,counts,panel,width\n{row}\n")
    with pytest.raises(UsageError, match=r"list.csv:2: not a clip of the list"):
        read_list(path)


def test_clips_are_found_anywhere_below_the_folder(tmp_path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.mp4").touch()
    clips = [clip("a.mp4", True, "p"), clip("b.mp4", False, "q")]
    assert find_files(clips, tmp_path) == {"a.mp4": tmp_path / "deep" / "er" / "a.mp4"}
    with pytest.raises(UsageError, match="none of the 1 listed clips is in it"):
        find_files(clips[1:], tmp_path)


def test_a_face_counts_where_its_panel_is_unless_the_file_was_cut_already() -> None:
    right = Clip("a.mp4", True, "swap", "p", "", False, (0.5, 1.0), 500)
    box = {"left": np.array([100, 0, 200, 90]), "right": np.array([700, 0, 800, 90])}
    assert [in_panel(right, 1000, box[side]) for side in ("left", "right")] == [False, True]
    assert in_panel(right, 500, box["left"])


def test_blur_of_the_face_is_told_from_blur_of_all() -> None:
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (120, 120, 3), np.uint8)
    soft = cv2.GaussianBlur(sharp, (0, 0), 2)
    face = sharp.copy()
    row, column = np.mgrid[:120, :120] / 119 - 0.5
    inside = (column / 0.34) ** 2 + (row / 0.45) ** 2 < 1
    face[inside] = soft[inside]
    within, around = sharpness(np.stack([sharp, soft, face]))
    assert within[0] > within[1] + 2 and within[2] == pytest.approx(within[1], abs=0.2)
    assert around[2] == pytest.approx(around[0], abs=0.2) and around[0] > around[1] + 2


def test_areas_are_scikit_learns_and_persons_move_together() -> None:
    rng = np.random.default_rng(0)
    fake = np.arange(40) % 2 == 1
    score = rng.normal(size=40) + 0.8 * fake
    one_each = area(fake, score, [f"p{n}" for n in range(40)])
    assert one_each.value == pytest.approx(roc_auc_score(fake, score))
    assert 0.5 < one_each.low < one_each.value < one_each.high < 1
    few = area(fake, score, [f"p{n // 10}" for n in range(40)])
    assert few.value == one_each.value and (few.low, few.high) != (one_each.low, one_each.high)
    assert area(np.zeros(3, bool), np.zeros(3), ["a", "b", "c"]) is None


def test_fakes_are_compared_with_the_reals_that_are_like_them() -> None:
    clips = [
        clip("r.mp4", False, "a"),
        clip("f.mp4", True, "b", "animated"),
        clip("pr.mp4", False, "c", pair="x"),
        clip("pf.mp4", True, "c", pair="x"),
    ]
    found = by_kind(clips, np.array([0.0, 1.0, 9.0, 5.0]))
    assert found["animated"].value == 1 and found["swap"].value == 0


def test_a_person_is_never_judged_by_a_fit_on_itself() -> None:
    """The label of each person is written into a column of its own: only a leak could read it."""
    groups = [f"p{n // 2}" for n in range(24)]
    seen = [
        SimpleNamespace(clip=clip(f"{n}.mp4", bool(n % 2), group)) for n, group in enumerate(groups)
    ]
    own = np.zeros((24, 12))
    for n in range(24):
        own[n, n // 2] = 1.0 if n % 2 else -1.0
    score = left_out(own, seen)
    assert np.ptp(score) < 1e-6 * np.abs(own).max() + 1e-9


def test_a_row_shows_the_range_over_seeds_and_leaves_clips_without_a_score_out() -> None:
    clips = [clip(f"{n}.mp4", bool(n % 2), f"p{n // 2}", pair=f"x{n // 2}") for n in range(8)]
    good = np.array([float(n % 2) for n in range(8)])
    _, kind, pairs, count = row_of("heads", clips, [good, -good, 0 * good])
    assert (kind, pairs, count) == ("0.50 (0.00 to 1.00)", "0.50 (0.00 to 1.00)", "8")
    good[0] = np.nan
    assert row_of("one", clips, good)[1:] == ("1.00 [1.00, 1.00]", "1.00 [1.00, 1.00]", "7")
    assert gate_of(clips, good).pairs is None  # none of them counts
    assert gate_of(clips, good, regression=True).pairs.value == 1


def test_it_runs_on_clips_and_a_release(media, tmp_path, capsys) -> None:
    """Two persons' files of the open material, beside a file that is no video."""
    folder = media / "open" / "eval" / "grid_swaps"
    if not folder.is_dir():
        pytest.skip("the open clips are not among the test media")
    (tmp_path / "clips").mkdir()
    for path in (*folder.rglob("grid*l_b[br]*.mp4"), *folder.rglob("gridswap_bbaf2n_*.mp4")):
        (tmp_path / "clips" / path.name).symlink_to(path)
    (tmp_path / "clips" / "grid_lbax4n.mpg").write_bytes(b"no video")
    (tmp_path / "Meso4_DF.h5").symlink_to(media / "open/weights/mesonet/Meso4_DF.h5")
    words = [str(tmp_path / "clips"), "--zoo", str(tmp_path), "--model", "zoo:meso4"]
    assert main(words) == 2 and "--accept-licence meso4" in capsys.readouterr().err
    words += ["--accept-licence", "meso4", "--scores", str(tmp_path / "scores.csv")]
    assert main(words) == 3
    out = capsys.readouterr().out
    assert "5 of 48 listed clips are here, 4 show a face; 2 persons." in out
    for name in ("meso4", "file facts", "face blur", "picture size", "untrained head, 20 seeds"):
        assert f"| {name} |" in out
    assert "no swap lies beside its original in the same file" in out
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 5


def test_what_no_clip_can_measure_is_a_dash_for_one_score_and_for_several_seeds() -> None:
    clips = [clip("a", False, "p"), clip("b", False, "q"), clip("c", True, "r")]
    score = np.array([0.0, 1.0, 2.0])
    assert row_of("one", clips, score)[1:] == ("1.00 [1.00, 1.00]", "-", "3")
    assert row_of("seeds", clips, [score, -score])[1:] == ("0.50 (0.00 to 1.00)", "-", "3")

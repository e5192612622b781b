"""A board of detectors whose truth is known equals what anybody computes from the same files."""

from __future__ import annotations

import csv
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import accuracy_score, roc_auc_score

from unmask.commands.main import main
from unmask.pipeline.errors import UsageError
from unmask.pipeline.evaluation.board import Board, board_of
from unmask.pipeline.evaluation.board_files import read_entries
from unmask.pipeline.evaluation.board_page import ranking, tables_of, write_board
from unmask.pipeline.evaluation.protocols import find_protocol
from unmask.pipeline.scores.bootstrap import bootstrap
from unmask.pipeline.scores.csv_file import write_scores
from unmask.pipeline.scores.equal_error import equal_error
from unmask.pipeline.scores.formulas import equal_error_rate
from unmask.pipeline.scores.metrics import METRICS
from unmask.pipeline.scores.table import scores_table

# Distance of fakes and reals in standard deviations: the true order is that of the list.
APART = (3.0, 2.9, 2.8, 2.6, 2.3, 2.0, 1.7, 1.4, 1.0, 0.6)
TRUTH = {f"d{place}": apart for place, apart in enumerate(APART)}
METHODS = ("Deepfakes", "FaceSwap", "NeuralTextures")


def videos(reals: int, fakes: int) -> dict:
    names = [f"r{n}" for n in range(reals)] + [f"f{n}" for n in range(fakes)]
    method = ["real"] * reals + [METHODS[n % 3] for n in range(fakes)]
    return {
        "video_id": names,
        "label": np.repeat([0, 1], [reals, fakes]),
        "method": method,
        "compression": ["c23"] * (reals + fakes),
        "dataset": ["ffpp"] * (reals + fakes),
    }


def draw(seed: int, apart: float, reals: int = 150, fakes: int = 210) -> np.ndarray:
    """Scores that share half of their noise over detectors, as those of the same videos do."""
    shared = np.random.default_rng(98).normal(size=reals + fakes)
    own = np.random.default_rng(seed).normal(size=reals + fakes)
    z = np.repeat([-apart / 2, apart / 2], [reals, fakes]) + (shared + own) / np.sqrt(2)
    return 1 / (1 + np.exp(-z))


def spell(text: str) -> tuple[str, str]:
    name, _, seed = text.partition("#")
    return name, seed


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Ten detectors, d0 and d3 of three seeds each."""
    folder = tmp_path_factory.mktemp("scores")
    found = {}
    for place, (name, apart) in enumerate(TRUTH.items()):
        for seed in (1, 2, 3) if name in ("d0", "d3") else ("",):
            spec = f"{name}#{seed}" if seed else name
            found[spec] = folder / f"{place}-{seed}.csv"
            score = draw(100 * place + (seed or 0), apart)
            write_scores(found[spec], scores_table(score=score, **videos(150, 210)))
    return found


def words(files: dict[str, Path]) -> list[str]:
    return [f"{spec}={path}" for spec, path in files.items()]


@pytest.fixture(scope="module")
def board(files: dict[str, Path]) -> Board:
    return board_of(read_entries(words(files)), protocol=find_protocol("stil-paper"))


def plain(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return (
        np.array([int(row["label"]) for row in rows]),
        np.array([float(row["score"]) for row in rows]),
    )


def delong_by_pairs(label: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """p of DeLong's test from all pairs of a fake and a real, as the paper writes it."""
    parts = []
    for score in (a, b):
        fake, real = score[label == 1][:, None], score[label == 0][None]
        parts.append((fake > real) + 0.5 * (fake == real))
    s10 = np.cov([part.mean(1) for part in parts]) / len(parts[0])
    s01 = np.cov([part.mean(0) for part in parts]) / parts[0].shape[1]
    s = s10 + s01
    z = (parts[0].mean() - parts[1].mean()) / np.sqrt(s[0, 0] + s[1, 1] - 2 * s[0, 1])
    return float(2 * norm.sf(abs(z)))


def holm_by_steps(p: dict[str, float]) -> dict[str, bool]:
    """Which differences stand at 0.05: from the smallest p on, until the first that does not."""
    stands, left = dict.fromkeys(p, False), len(p)
    for name in sorted(p, key=p.get):
        if p[name] > 0.05 / left:
            break
        stands[name], left = True, left - 1
    return stands


def test_ranking_tests_and_spreads_are_those_of_an_independent_computation(board, files) -> None:
    (sheet,) = board.sheets
    aucs: dict[str, dict[str, float]] = {}
    for spec, path in files.items():
        name, seed = spell(spec)
        aucs.setdefault(name, {})[seed] = roc_auc_score(*plain(path))
    chosen = {name: sorted(of, key=of.get)[(len(of) - 1) // 2] for name, of in aucs.items()}
    value = {name: of[chosen[name]] for name, of in aucs.items()}
    mean = {name: statistics.mean(of.values()) for name, of in aucs.items()}
    expected = sorted(mean, key=mean.get, reverse=True)
    assert [row.detector for row in sheet.rows] == expected
    assert expected[0] == "d0" and expected[-1] == "d9", "the true ends"

    path_of = {name: files[f"{name}#{s}" if s else name] for name, s in chosen.items()}
    label, best = plain(path_of[expected[0]])
    p = {n: delong_by_pairs(label, best, plain(path_of[n])[1]) for n in expected[1:]}
    stands = holm_by_steps(p)
    assert 0 < sum(stands.values()) < 9, "some differ, some cannot be told apart"
    for row in sheet.rows:
        assert row.auc.value == pytest.approx(value[row.detector], abs=1e-12)
        assert row.seed == chosen[row.detector]
        score = plain(path_of[row.detector])[1]
        assert row.acc.value == accuracy_score(label, score >= 0.5)
        assert row.eer.value == pytest.approx(equal_error_rate(label, score), abs=1e-12)
        if row.detector == expected[0]:
            assert (row.verdict, row.p, row.gap) == ("best", None, None)
            continue
        assert row.p == pytest.approx(p[row.detector], rel=1e-6)
        assert row.verdict == ("worse" if stands[row.detector] else "not shown to differ")
    three = next(row for row in sheet.rows if row.detector == "d3")
    seeds = list(aucs["d3"].values())
    assert three.seeds.mean == pytest.approx(statistics.mean(seeds))
    assert three.seeds.sd == pytest.approx(statistics.stdev(seeds))
    files_of = [plain(files[f"d3#{s}"])[1] for s in (1, 2, 3)]
    right = [accuracy_score(label, score >= 0.5) for score in files_of]
    wrong = [equal_error_rate(label, score) for score in files_of]
    for found, by_hand in ((three.acc_seeds, right), (three.eer_seeds, wrong)):
        assert found.mean == pytest.approx(statistics.mean(by_hand))
        assert found.sd == pytest.approx(statistics.stdev(by_hand))
    gaps = [aucs["d0"][s] - aucs["d3"][s] for s in ("1", "2", "3")]
    assert three.paired.mean == pytest.approx(statistics.mean(gaps))
    assert three.paired.sd == pytest.approx(statistics.stdev(gaps))


def test_of_several_seeds_mean_and_deviation_are_shown_and_no_single_one(board) -> None:
    tables = dict(tables_of(board))
    (sheet,) = board.sheets
    shown = {
        row[0]: dict(zip(tables["set-ffpp"].header, row, strict=True))
        for row in tables["set-ffpp"].rows
    }
    for row in sheet.rows:
        cells = shown[row.detector]
        if row.seeds.runs == 1:
            assert (cells["AUC"], cells["ACC"], cells["EER"]) == (row.auc, row.acc, row.eer)
        else:
            assert cells["seeds"] == 3 and cells["AUC"] == str(row.seeds)
            assert " ± " in cells["AUC"] and cells["ACC"] == str(row.acc_seeds)
            assert cells["EER"] == str(row.eer_seeds)
    recall = next(row for row in tables["recall-ffpp"].rows if row[0] == "d3")
    three = next(row for row in sheet.rows if row.detector == "d3")
    assert recall[4:] == tuple(str(three.recall_seeds[name]) for name in METHODS)


def test_a_published_value_and_its_difference_stand_in_the_sets_table(board) -> None:
    table = dict(tables_of(board))["set-ffpp"]
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    # The paper reports ACC of each method; three of them are here.
    cells = [c for c in find_protocol("stil-paper").cells if c.compression == "c23"]
    papers = {c.method: c.value for c in cells if c.dataset == "ffpp" and c.method in METHODS}
    mean = statistics.mean(papers.values())
    assert rows["d5"]["published ACC"] == pytest.approx(mean)
    measured = [one.measured for one in board.published if one.detector == "d5"]
    assert rows["d5"]["difference"] == f"{statistics.mean(measured) - mean:+.3f}"
    plain_table = dict(tables_of(replace(board, published=())))["set-ffpp"]
    assert not any("published" in name for name in plain_table.header)


def test_recall_of_each_generator_at_one_threshold(board, files) -> None:
    row = next(row for row in board.sheets[0].rows if row.detector == "d5")
    label, score = plain(files["d5"])
    threshold = np.sort(score[label == 0])[::-1][7]  # 5 % of 150 reals are 7
    assert row.point.threshold == threshold and row.point.alarms == 7
    for place, method in enumerate(METHODS):
        of = score[label == 1][place::3]
        assert row.recall[method].value == pytest.approx((of > threshold).mean())
        assert row.recall[method].low < row.recall[method].value < row.recall[method].high


def test_published_cells_that_these_files_can_answer_are_beside(board, files) -> None:
    found = [one for one in board.published if one.detector == "d5"]
    assert [one.cell.method for one in found] == [METHODS[0], METHODS[1], METHODS[2]]
    label, score = plain(files["d5"])
    keep = (label == 0) | (np.arange(360) % 3 == 150 % 3)
    assert found[0].measured == accuracy_score(label[keep], score[keep] >= 0.5)
    table = dict(tables_of(board))["published"]
    cells = next(row for row in table.rows if row[0] == "d5")
    assert cells[5] == f"{found[0].measured - found[0].cell.value:+.3f}"


def test_the_quick_interval_of_the_eer_is_that_of_drawing_videos() -> None:
    label = np.repeat([0, 1], [150, 210])
    for apart in (0.6, 3.0):
        score = draw(1, apart)
        value, low, high = equal_error(label, score, 4000)
        slow = bootstrap(label, score, None, 0.5, {"eer": METRICS["eer"].resampled}, 4000)["eer"]
        assert value == pytest.approx(equal_error_rate(label, score), abs=1e-12)
        assert (low, high) == pytest.approx(slow, abs=0.006)
    few = np.array([0.0, 0.0, 1.0, 1.0])
    assert equal_error(np.array([0, 0, 1, 1]), few, 50) == (0, 0, 0)


def test_several_sets_a_baseline_and_missing_videos(files, tmp_path: Path) -> None:
    table = scores_table(score=draw(5, 2.0, 40, 60), **{**videos(40, 60), "dataset": ["x"] * 100})
    write_scores(tmp_path / "x.csv", table)
    write_scores(tmp_path / "part.csv", table.take(np.arange(1, 100)))
    specs = [*words(files)[:2], f"d0@other={tmp_path / 'x.csv'}", f"d1@other={tmp_path}/part.csv"]
    entries = read_entries(specs)
    entries += read_entries([f"audit={files['d9']}"], baseline=True)
    made = board_of(entries, resamples=20)
    ffpp, other = made.sheets
    assert (other.real, other.fake, other.left_out) == (39, 60, 1)
    assert [row.verdict for row in ffpp.rows] == ["best", "baseline"]
    assert ffpp.rows[0].adjusted is None and ffpp.rows[0].detector == "d0"
    rows = ranking(made).rows
    assert [row[0] for row in rows] == ["d0", "d1", "audit"] and rows[0][1] == 2
    mean = ffpp.rows[0].seeds.mean + next(r for r in other.rows if r.detector == "d0").auc.value
    assert rows[0][2] == pytest.approx(mean / 2)


def test_what_cannot_be_compared_is_one_sentence(files, tmp_path: Path) -> None:
    path = files["d1"]
    with pytest.raises(UsageError, match="name them apart"):
        read_entries([f"a={path}", f"a={path}"])
    with pytest.raises(UsageError, match="no such scores file"):
        read_entries(["a=nowhere.csv"])
    with pytest.raises(UsageError, match="neither an evaluation nor a run"):
        read_entries([str(tmp_path)])
    table = scores_table(score=[0.1, 0.9], video_id=["q", "w"], label=[0, 1], dataset=["ffpp"] * 2)
    write_scores(tmp_path / "other.csv", table)
    with pytest.raises(UsageError, match=r"share 0 real and 0 fake .*other\.csv has the fewest"):
        board_of(read_entries([str(path), str(tmp_path / "other.csv")]))
    swapped = {**videos(150, 210), "label": np.repeat([1, 0], [150, 210])}
    write_scores(tmp_path / "swapped.csv", scores_table(score=draw(1, 1.0), **swapped))
    with pytest.raises(UsageError, match="has one label in"):
        board_of(read_entries([str(path), str(tmp_path / "swapped.csv")]))


def test_the_command_writes_page_tables_and_json(files, tmp_path: Path, capsys) -> None:
    hostile = f"<script>alert(1)</script>={files['d1']}"
    out = tmp_path / "board"
    assert (
        main(["board", hostile, f"d2={files['d2']}", "--out", str(out), "--resamples", "20"]) == 0
    )
    assert "p after Holm" in capsys.readouterr().out
    page = (out / "board.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page and "How to read it" in page
    document = json.loads((out / "board.json").read_text())
    assert document["sheets"][0]["rows"][0]["verdict"] == "best"
    lines = (out / "set-ffpp.csv").read_text().splitlines()
    assert lines[0].startswith("detector,AUC,AUC low,AUC high") and len(lines) == 3
    assert (out / "set-ffpp.tex").read_text().startswith(r"\begin{tabular}")
    assert (out / "recall-ffpp.md").read_text().startswith("| detector")
    assert "Know this first" not in page


def test_what_an_evaluation_warned_of_stands_on_the_board(files, tmp_path: Path, capsys) -> None:
    said = "Trained on real footage only; finds composited faces, not wholly generated ones."
    for seed, text in (("1", json.dumps({"cautions": [said]})), ("2", "{")):
        folder = tmp_path / seed / "evaluations" / "ffpp"
        folder.mkdir(parents=True)
        (folder / "scores.csv").write_bytes(files[f"d0#{seed}"].read_bytes())
        (folder / "metrics.json").write_text(text)
    runs = [f"mine#{seed}={tmp_path / seed}" for seed in "12"]
    out = tmp_path / "board"
    words = ["board", *runs, f"d2={files['d2']}", "--out", str(out), "--resamples", "0"]
    assert main(words) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("caution: ")]
    damaged = "Its metrics.json cannot be read, so what it warned of is not known."
    assert lines == [f"caution: mine on ffpp: {said}", f"caution: mine on ffpp: {damaged}"]
    page = (out / "board.html").read_text()
    assert page.index("Know this first") < page.index(said) < page.index("<table")
    assert ["mine", "ffpp", said] in json.loads((out / "board.json").read_text())["cautions"]


@pytest.mark.slow
def test_a_hundred_files_of_ten_thousand_videos_in_ten_seconds(tmp_path: Path) -> None:
    about = {**videos(4000, 6000), "split": ["test"] * 10_000}
    for place in range(100):
        score = draw(place, 1 + place / 50, 4000, 6000)
        write_scores(tmp_path / f"{place}.csv", scores_table(score=score, **about))
    start, busy = time.monotonic(), time.process_time()
    made = board_of(read_entries([str(path) for path in sorted(tmp_path.glob("*.csv"))]))
    write_board(made, tmp_path / "board")
    busy, wall = time.process_time() - busy, time.monotonic() - start
    print(f"{wall:.1f} s, {busy:.1f} s of processor")
    assert len(made.sheets[0].rows) == 100 and busy < 10

"""A scores file comes back bit for bit, says what is wrong line by line, and never runs in a
spreadsheet.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.pipeline.errors import ScoresError
from unmask.pipeline.scores import csv_file, video_scores
from unmask.pipeline.scores import table as sc

HOSTILE = [
    '"><script>alert(1)</script>.mp4',
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1:A9)",
    "\t=1+1",
    "\r=1",
    "\n=1",
    "'=already",
    "''",
    "'plain",
    "'",
    "a,b;c\"d'e",
    "new\nline",
    "\x1b[31mred\x1b[0m",
    "日本語 ümlaut \U0001f600",
    "bad-\udcff-bytes",
    " leading and trailing ",
]


def column(path: Path, name: str) -> list[str]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [row[name] for row in csv.DictReader(file)]


def test_hostile_texts_come_back_and_no_cell_starts_a_formula(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    label = [i % 2 for i in range(len(HOSTILE))]
    rows = sc.scores_table(
        video_id=HOSTILE, label=label, score=np.linspace(0, 1, len(HOSTILE)), method=HOSTILE
    )
    csv_file.write_scores(path, rows)
    again, _ = csv_file.read_scores(path)
    assert again.video_id.tolist() == HOSTILE
    assert again.method.tolist() == HOSTILE
    for cell in column(path, "video_id") + column(path, "method"):
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=12))
def test_protection_has_an_inverse(text: str) -> None:
    assert csv_file.unprotect(csv_file.protect(text)) == text
    assert not csv_file.protect(text).startswith(csv_file.FORMULA)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_numbers_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, score: list[float], far: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "exact.csv"
    names = [f"v{i}" for i in range(len(score))]
    csv_file.write_scores(
        path,
        sc.scores_table(
            video_id=names, label=[0] * len(score), score=score, logit=[far] * len(score)
        ),
    )
    again, _ = csv_file.read_scores(path)
    assert np.array_equal(again.score.view(np.int64), np.array(score, np.float64).view(np.int64))
    assert np.array_equal(again.logit.view(np.int64), np.array([far] * len(score)).view(np.int64))


def test_every_column_comes_back_and_absent_stays_absent(tmp_path: Path) -> None:
    rows = sc.scores_table(
        dataset=["ffpp", "ffpp"],
        video_id=["a", "b"],
        label=[0, 1],
        method=["real", "Deepfakes"],
        compression=["c23", "c40"],
        split=["test", "val"],
        track=[0, 2],
        clip=[3, -1],
        frame=[-1, 99],
        logit=[-1.5, 2.5],
        score=[0.1, 1 / 3],
    )
    path = tmp_path / "scores.csv"
    digest = csv_file.write_scores(path, rows)
    again, read_digest = csv_file.read_scores(path)
    assert digest == read_digest
    for name in sc.COLUMNS:
        assert getattr(again, name).tolist() == getattr(rows, name).tolist(), name
    # Datasets without spans get the eleven columns they always had.
    assert path.read_text().splitlines()[0] == ",".join(sc.COLUMNS).removesuffix(",row_label")
    assert csv_file.encode(again) == path.read_bytes()


def test_a_foreign_file_with_three_columns_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_bytes(
        b"\xef\xbb\xbfscore, Video_ID ,label,comment\r\n0.25,a,0,ok\r\n1,b,1,\r\n\r\n0.75,a,0,x\r\n"
    )
    rows, _ = csv_file.read_scores(path)
    assert rows.video_id.tolist() == ["a", "b", "a"]
    assert rows.score.tolist() == [0.25, 1.0, 0.75]
    assert rows.level == "clip"
    assert video_scores.video_scores(rows).score.tolist() == [0.5, 1.0]


def test_a_file_with_logits_alone(tmp_path: Path) -> None:
    path = tmp_path / "logits.csv"
    path.write_text("video_id,label,logit\na,0,-2\nb,1,0\n")
    rows, _ = csv_file.read_scores(path)
    assert rows.score == pytest.approx([1 / (1 + np.e**2), 0.5])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("a,2,0.5", "label '2' is not 0"),
        ("a,fake,0.5", "label 'fake'"),
        ("a,1.0,0.5", "label '1.0'"),
        ("a,1,1.5", "not a probability"),
        ("a,1,-0.1", "not a probability"),
        ("a,1,nan", "finite"),
        ("a,1,inf", "finite"),
        ("a,1,", "finite"),
        ("a,1,0.5,7", "4 cells where the header has 3"),
        ("a,1", "2 cells"),
        (",1,0.5", "no video_id"),
        ("a,1,\x1b[2J", r"'\x1b[2J'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"video_id,label,score\ngood,0,0.1\n{line}\n")
    with pytest.raises(ScoresError) as caught:
        csv_file.read_scores(path)
    assert f"{path}:3: " in str(caught.value)
    assert why in str(caught.value)


def test_all_bad_lines_are_listed_the_first_twenty(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text("video_id,label,score\n" + "a,7,0.5\n" * 25)
    with pytest.raises(ScoresError) as caught:
        csv_file.read_scores(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: 25 bad lines" and len(lines) == 22
    assert lines[-1].strip() == "... and 5 more"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("video_id,label\na,1\n", r"score \(or logit\)"),
        ("name,score\na,1\n", "video_id, label"),
        ("video_id,label,score,score\n", "named twice"),
        ("video_id,label,score\n", "no scores"),
        ('video_id,label,score\n"a,1,0.5\n', "not a CSV line"),
        ("video_id,label,score\na,1,0.5\na,0,0.5\n", "line 2 gives the same video label 1"),
        (
            "video_id,label,clip,score\na,1,0,0.5\na,1,0,0.6\n",
            "same clip of the same video as line 2",
        ),
        ("video_id,label,clip,score\na,1,x,0.5\n", "whole number"),
    ],
)
def test_files_that_cannot_be_trusted_are_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ScoresError, match=why):
        csv_file.read_scores(path)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ScoresError, match=r"absent\.csv: cannot read the scores file"):
        csv_file.read_scores(tmp_path / "absent.csv")


PLAIN = "dataset,video_id,label,method,clip,score,note\nx,a,0,real,0,0.25,\nx,a,0,real,1,.5,n\n"


def test_a_quoted_file_read_by_lines_and_a_plain_one_read_by_columns_are_equal(tmp_path) -> None:
    both = []
    for name, text in (("plain", PLAIN), ("quoted", PLAIN.replace("n\n", '"n"\n'))):
        (tmp_path / name).write_text(text + "x,'=b,1,fake,,1e-1,\n\n")
        both.append(csv_file.read_scores(tmp_path / name)[0])
    for name in sc.COLUMNS:
        assert getattr(both[0], name).tolist() == getattr(both[1], name).tolist()
    assert both[0].video_id.tolist() == ["a", "a", "=b"] and both[0].clip.tolist() == [0, 1, -1]


@pytest.mark.parametrize(
    "line", ["x,a,1,real,2,.5,", "x,a,0,real,1,.5,", "x,b,0,,0,1.5,", "x,,0,,0,.5,", "x,b,0,,0,½,"]
)
def test_what_is_wrong_in_a_plain_file_is_still_named_with_its_line(tmp_path, line: str) -> None:
    (tmp_path / "bad.csv").write_text(PLAIN + line + "\n")
    with pytest.raises(ScoresError, match=r"bad\.csv:4: "):
        csv_file.read_scores(tmp_path / "bad.csv")

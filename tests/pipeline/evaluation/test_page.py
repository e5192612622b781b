"""The page is inert whatever the names say, needs nothing from outside, and serves without mouse
or eyes.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

import jinja2
import numpy as np
import pytest

from unmask.pipeline.evaluation.page import Extras, Wrong, evaluation_page
from unmask.pipeline.reports import plots, tables
from unmask.pipeline.reports.html import page
from unmask.pipeline.scores.calibration import Calibration
from unmask.pipeline.scores.evaluate_scores import evaluate_scores
from unmask.pipeline.scores.metrics import Measure
from unmask.pipeline.scores.results import Coverage, Options
from unmask.pipeline.scores.table import scores_table
from unmask.pipeline.scores.video_scores import video_scores

HOSTILE = '"><script>alert(1)</script>\x1b[31m\u202egpj.exe\n{{7*7}}<img src=x onerror=alert(2)>'


class Tags(HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


@pytest.fixture(scope="module")
def html() -> str:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 12)
    scores = scores_table(
        video_id=[f"{HOSTILE}-{i}" for i in range(24)],
        label=label,
        score=np.clip(rng.normal(0.3 + 0.3 * label, 0.2), 0, 1),
        method=[HOSTILE if value else "real" for value in label],
        dataset=[HOSTILE] * 24,
        compression=["c23", "$x_1^2$"] * 12,
    )
    result = evaluate_scores(
        scores, Options(resamples=20), Coverage((1, 2), (0, 1), {"no_face": 3}, True)
    )
    joined = video_scores(scores)
    pictures = plots.pictures_of(result, joined)
    extras = Extras(
        pictures=[*pictures, plots.bars(HOSTILE, [(HOSTILE, 0.5, 0.4, 0.6)])],
        worst=[Wrong(HOSTILE, 1, 0.01, HOSTILE, b"\x89PNGx", HOSTILE, True)],
        provenance=[(HOSTILE, [(HOSTILE, HOSTILE), ("number", 0.123456)])],
        protocol=(
            tables.Table("P", (HOSTILE, "value"), ((HOSTILE, Measure(None, note=HOSTILE)),)),
            HOSTILE,
        ),
        cautions=[HOSTILE],
    )
    return evaluation_page(HOSTILE, HOSTILE, result, extras)


def test_no_name_becomes_markup(html: str) -> None:
    tags = Tags(html)
    assert not {"script", "iframe", "object", "embed", "link", "form", "base", "svg"} & {
        tag for tag, _ in tags.tags
    }
    for tag, attributes in tags.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
    assert tags.text.count("<script>alert(1)</script>") > 5  # it is there, as text
    assert "{{7*7}}" in tags.text


def test_control_characters_and_direction_marks_are_written_out(html: str) -> None:
    assert not set(html) & {"\x1b", "\u202e", "\x00"}
    assert "\\x1b[31m" in html and "\\u202e" in html


def test_everything_is_inside_the_page(html: str) -> None:
    for tag, attributes in Tags(html).tags:
        for name in ("src", "srcset", "href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#")), (tag, value[:60])
    policy = next(
        a["content"] for t, a in Tags(html).tags if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy and "img-src data:" in policy
    assert (
        "url(" not in html
        and "@import" not in html
        and "http:" not in html
        and "https:" not in html
    )


def test_it_can_be_read_without_eyes_and_without_a_mouse(html: str) -> None:
    tags = Tags(html).tags
    assert dict(tags[0][1])["lang"] == "en"
    assert all(attributes.get("alt") for tag, attributes in tags if tag == "img")
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {attributes["href"][1:] for tag, attributes in tags if tag == "a"}
    assert anchors <= set(ids) and "main" in anchors
    scrolling = [
        attributes
        for tag, attributes in tags
        if tag == "div" and attributes.get("class") == "scroll"
    ]
    assert scrolling and all(a.get("tabindex") == "0" and a.get("aria-label") for a in scrolling)
    assert all(attributes.get("scope") for tag, attributes in tags if tag == "th")
    assert any(attributes.get("name") == "viewport" for tag, attributes in tags if tag == "meta")


def test_what_the_numbers_are_not_stands_before_the_numbers(html: str) -> None:
    assert html.index("What these numbers are not") < html.index('id="numbers"')
    assert "not evidence" in html


def test_denominators_are_shown(html: str) -> None:
    text = re.sub(r"\s+", " ", Tags(html).text)
    assert "refused by extraction 3 1 2" in text
    assert "in the manifest, not in the cache 1 0 1" in text
    assert "Refused because: no_face 3." in text
    assert "85.7 %" in text  # 24 of 28


def test_a_template_that_wants_more_than_it_gets_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        page("evaluation.html", title="x")


def bare_page(extras: Extras, coverage: Coverage | None = None, calibration=None) -> str:
    scores = scores_table(
        video_id=list("abcd"), label=[0, 0, 1, 1], score=[0.1, 0.45, 0.6, 0.9], dataset=["x"] * 4
    )
    result = evaluate_scores(scores, Options(resamples=10), coverage, calibration)
    return Tags(evaluation_page("title", "subtitle", result, extras)).text


def test_videos_far_from_their_label_are_called_wrong_only_where_they_are() -> None:
    right = Wrong("b", 0, 0.45, "real", b"\x89PNGx", "heat", wrong=False)
    wrong = Wrong("c", 1, 0.3, "X", b"\x89PNGx", "heat", wrong=True)
    text = bare_page(Extras(worst=[right]))
    assert "farthest from their label" in text and "None of these is on the wrong side" in text
    assert "real, score 0.450: right" in text and "most wrong" not in text.lower()
    text = bare_page(Extras(worst=[wrong, right]))
    assert "1 of these 2 are on the wrong side of the threshold 0.500." in text
    assert "fake (X), score 0.300: wrong" in text


def test_videos_that_nobody_had_are_not_called_refused() -> None:
    text = bare_page(Extras(), Coverage((0, 1), (0, 0), {"no_face": 1}, True, absent=(36, 240)))
    assert re.search(r"refused by extraction\s+1\s+0\s+1", text)
    assert re.search(r"named by an official list, never on this disk\s+276\s+36\s+240", text)
    assert "Refused because: no_face 1." in text
    assert "never on this disk" not in bare_page(Extras(), Coverage(known=True))


def test_a_calibration_that_kept_defaults_does_not_claim_to_be_fitted() -> None:
    fitted = bare_page(Extras(), None, Calibration(1.2, 0.5, (0.4, 0.6), source="val"))
    assert "were fitted on validation videos" in fitted
    kept = Calibration(1.2, 0.5, (0.4, 0.6), source="val", note="8 videos: the default zone")
    text = bare_page(Extras(), None, kept)
    assert "were fitted" not in text and "as far as these decide them" in text
    assert "8 videos: the default zone" in text

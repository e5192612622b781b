"""What a run knows of its training: on whom it was trained, and how those crops looked.

Written to run.json once, before the first step, and copied into the sidecar of an exported model;
prediction compares it with what it is asked about. Bounded: a few words and numbers, however large
the dataset.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

# What a reader must know of a detector whose fakes were made of real footage.
REAL_ONLY = "trained on real footage only; finds composited faces, not wholly generated ones"

WORD, WORDS, STATISTICS = 80, 50, 50  # longest word, most words of a kind, most statistics


@dataclass(frozen=True)
class Spread:
    """The middle half of a statistic over the training videos: quartiles and median."""

    lower: float
    median: float
    upper: float

    def fences(self, least: float) -> tuple[float, float]:
        """Beyond these a value is far out: three times the middle half away from it.

        least: a middle half narrower than this counts as this wide, because few videos of one
        camera differ less than a viewer would notice.
        Source: Tukey 1977, Exploratory Data Analysis, 2D (outer fences).
        """
        reach = 3 * max(self.upper - self.lower, least)
        return self.lower - reach, self.upper + reach


@dataclass(frozen=True)
class Knowledge:
    """What a run knows of its training videos.

    known: False when the run does not say; then nothing below counts.
    drawn: some of them are drawn, not filmed.
    real, fake: videos of each class.
    people: different persons, None where the dataset does not name them.
    datasets, compressions, methods: their words, sorted.
    looks: statistic of the crops -> its spread over the videos.
    real_only: its fakes were made of real clips, by pasting a face into itself.
    chosen_on_fakes: all the same its best epoch was chosen on genuine fakes.
    """

    known: bool = False
    drawn: bool = False
    real: int = 0
    fake: int = 0
    people: int | None = None
    datasets: tuple[str, ...] = ()
    compressions: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    looks: Mapping[str, Spread] = field(default_factory=dict)
    real_only: bool = False
    chosen_on_fakes: bool = False

    @property
    def cautions(self) -> tuple[str, ...]:
        """What a reader of its scores must know, in whole sentences."""
        if not self.real_only:
            return ()
        chosen = ("Its best epoch was chosen on genuine fakes.",) if self.chosen_on_fakes else ()
        return (f"{REAL_ONLY[0].upper()}{REAL_ONLY[1:]}.", *chosen)

    @property
    def footage(self) -> dict[str, str]:
        """The same as one fact of a table."""
        return {"footage": " ".join(self.cautions)} if self.real_only else {}

    def as_json(self) -> dict[str, object]:
        """Plain JSON values, lists and words cut to their bounds."""
        words = {
            name: [word[:WORD] for word in getattr(self, name)[:WORDS]]
            for name in ("datasets", "compressions", "methods")
        }
        looks = {name: [s.lower, s.median, s.upper] for name, s in self.looks.items()}
        counts = {"real": self.real, "fake": self.fake, "people": self.people}
        said: dict[str, object] = {}
        if self.real_only:
            chosen = "manifest" if self.chosen_on_fakes else "self"
            said = {"fakes": "self", "val_fakes": chosen, "footage": REAL_ONLY}
        return {"drawn": self.drawn, **said, **counts, **words, "looks": looks}


def knowledge_from(values: object, where: str) -> Knowledge:
    """The knowledge written by as_json; what is absent or not of its form is unknown, and logged.

    An answer that rests on a damaged record is worth as little as one that rests on none.
    """
    if values is None:
        return Knowledge()
    try:
        return _checked(values)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        log.warning("%s: what it says of its training cannot be read (%s)", where, error)
        return Knowledge()


def _checked(values: object) -> Knowledge:
    if not isinstance(values, dict) or not isinstance(values["looks"], dict):
        raise TypeError("expected an object with looks")
    if len(values["looks"]) > STATISTICS or not isinstance(values["drawn"], bool):
        raise ValueError("out of range")
    people = values["people"]
    return Knowledge(
        known=True,
        real_only=_is_self(values.get("fakes", "manifest")),
        chosen_on_fakes=not _is_self(values.get("val_fakes", "self")),
        drawn=values["drawn"],
        real=_count(values["real"]),
        fake=_count(values["fake"]),
        people=None if people is None else _count(people),
        datasets=_words(values["datasets"]),
        compressions=_words(values["compressions"]),
        methods=_words(values["methods"]),
        looks={_word(name): _spread(three) for name, three in values["looks"].items()},
    )


def _is_self(value: object) -> bool:
    """Whether fakes were made of the reals; the other answer is that a manifest named them."""
    if value not in ("self", "manifest"):
        raise ValueError(f"{value!r:.40} says of no fakes where they come from")
    return value == "self"


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 10**12:
        raise ValueError(f"{value!r:.40} is no count")
    return value


def _word(value: object) -> str:
    if not isinstance(value, str) or len(value) > WORD:
        raise ValueError(f"{value!r:.40} is no word")
    return value


def _words(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or len(values) > WORDS:
        raise ValueError(f"{values!r:.40} is no list of words")
    return tuple(_word(value) for value in values)


def _spread(values: object) -> Spread:
    if not isinstance(values, list) or len(values) != 3:
        raise ValueError(f"{values!r:.40} is no spread")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e9:
            raise ValueError(f"{value!r:.40} is no statistic")
    lower, median, upper = (float(value) for value in values)
    if not (math.isfinite(lower + upper) and lower <= median <= upper):
        raise ValueError(f"{values!r:.80} is not in order")
    return Spread(lower, median, upper)

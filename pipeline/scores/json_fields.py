"""The fields of a JSON object by type and range, where its names are data and no dataclass can list
them: every refusal names the file and the field.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from unmask.pipeline.disk.files import read_json
from unmask.pipeline.errors import ScoresError

MAX_BYTES = 50_000_000
LONGEST_TEXT = 100_000


def read_fields(path: Path, most: int = MAX_BYTES) -> Fields:
    """The JSON object of a file. Raises ScoresError naming the file."""
    return Fields(read_json(path, most, ScoresError), str(path))


class Fields:
    """A JSON object whose fields are asked for by type.

    where: the file and the field that holds this object, for messages.
    Every getter raises ScoresError for a field that is absent or of another type or range.
    """

    def __init__(self, raw: object, where: str) -> None:
        self.where = where
        if not isinstance(raw, dict):
            raise self.refusal(f"expected an object, got {_shown(raw)}")
        self.raw = raw

    def __iter__(self) -> Iterator[str]:
        return iter(self.raw)

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.raw.get(name) is not None

    def refusal(self, why: str) -> ScoresError:
        return ScoresError(f"{self.where}: {why}")

    def object(self, name: str) -> Fields:
        return Fields(self._of(name), f"{self.where}: {name}")

    def objects(self, name: str) -> Iterator[tuple[str, Fields]]:
        """Every field of the object `name`, each an object itself."""
        inner = self.object(name)
        for key in inner:
            yield key, inner.object(key)

    def text(self, name: str) -> str:
        value = self._of(name)
        if not isinstance(value, str) or len(value) > LONGEST_TEXT:
            raise self._wrong(name, "a text", value)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._of(name)
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self._wrong(name, "a list of texts", values)
        return tuple(values)

    def flag(self, name: str) -> bool:
        value = self._of(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def whole(self, name: str, least: int | None = 0) -> int:
        """A whole number of at most 64 bits, from `least` on."""
        value = self._of(name)
        good = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
        if not good or (least is not None and value < least):
            raise self._wrong(name, "a whole number", value)
        return value

    def number(self, name: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number from `low` to `high`."""
        value = finite(self._of(name))
        if value is None or not low <= value <= high:
            raise self._wrong(name, f"a number from {low:g} to {high:g}", self.raw[name])
        return value

    def number_or_none(
        self, name: str, low: float = -math.inf, high: float = math.inf
    ) -> float | None:
        return None if self._of(name) is None else self.number(name, low, high)

    def rows(self, name: str) -> tuple[tuple[str | float | None, ...], ...]:
        """A list of rows: a text, then numbers or null."""
        rows = self._of(name)
        if not isinstance(rows, list) or not all(map(_is_row, rows)):
            raise self._wrong(name, "rows of a text and numbers", rows)
        return tuple(tuple(row) for row in rows)

    def plain(self, name: str) -> str | int | float | bool | None:
        """A text, number, true, false or null."""
        value = self._of(name)
        if not (value is None or isinstance(value, str | bool) or finite(value) is not None):
            raise self._wrong(name, "a text or a number", value)
        return value

    def _of(self, name: str) -> object:
        if name not in self.raw:
            raise self.refusal(f"no field {name}")
        return self.raw[name]

    def _wrong(self, name: str, expected: str, value: object) -> ScoresError:
        return self.refusal(f"{name} should be {expected}, is {_shown(value)}")


def finite(value: object) -> float | None:
    """The number as float, None for anything that is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _is_row(row: object) -> bool:
    if not isinstance(row, list) or not row or not isinstance(row[0], str):
        return False
    return all(value is None or finite(value) is not None for value in row[1:])


def _shown(value: object) -> str:
    return ascii(value)[:60]

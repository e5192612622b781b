"""How predict writes its verdicts to standard output: as they are known, each at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from unmask.pipeline.errors import DiskError
from unmask.pipeline.reports.printable import printable

COLOURS = {"fake": "yellow", "real": "cyan", "unsure": "magenta"}


class Spelling:
    """What is written to standard output: something once the models are known, something for each
    video as it is answered, something at the end.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.longest = max(len("video"), *(len(printable(path.name)) for path in paths))
        self.names: list[str] = []
        self.cautions: list[str] = []
        self.begun, self.count = False, 0

    def begin(self, models: Any) -> None:
        self.names = [model.name for model in models]
        self.cautions = list(dict.fromkeys(line for model in models for line in model.cautions))
        self.begun = True
        self.say(self.opening())

    def add(self, prediction: Any) -> None:
        self.say(self.one(prediction))
        self.count += 1

    def __enter__(self) -> Spelling:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        # A stopped run leaves something whole, too: the videos that were answered so far.
        if self.begun and (closing := self.closing(stopped=kind is not None)):
            self.say(closing)

    def say(self, text: str) -> None:
        """Raises DiskError where the text goes into a file and the disk is full."""
        try:
            click.echo(text, nl=False)
            sys.stdout.flush()
        except BrokenPipeError:  # nobody reads on
            raise
        except OSError as error:
            raise DiskError(f"standard output: not written ({error.strerror})") from error

    def opening(self) -> str:
        return ""

    def one(self, prediction: Any) -> str:
        raise NotImplementedError

    def closing(self, stopped: bool) -> str:
        return ""


class Rows(Spelling):
    """A table; its columns are as wide as the names of all videos need, for no row can wait."""

    MOST = 60

    def opening(self) -> str:
        from unmask.pipeline.prediction.verdicts import verdict_table

        header = self._line(verdict_table([], names=self.names).header)
        return click.style(header, bold=True) + "\n"

    def one(self, prediction: Any) -> str:
        from unmask.pipeline.prediction.verdicts import verdict_table
        from unmask.pipeline.reports.tables import plain

        (row,) = verdict_table([prediction], names=self.names).rows
        line = self._line([plain(cell) for cell in row])
        return click.style(line, fg=COLOURS.get(prediction.verdict)) + "\n"

    def closing(self, stopped: bool) -> str:
        from unmask.pipeline.prediction.verdicts import NOT_A_PROOF

        return "" if stopped else f"\n{NOT_A_PROOF}\n"

    def _line(self, cells: Any) -> str:
        name, verdict, *numbers, reason = cells
        widths = (6, 7, *(max(5, len(name)) for name in self.names))
        middle = [cell.rjust(width) for cell, width in zip(numbers, widths, strict=False)]
        first = name.ljust(min(self.longest, self.MOST))
        return "  ".join([first, verdict.ljust(10), *middle, reason]).rstrip()


class Csv(Spelling):
    """The heads, then one line per video."""

    def opening(self) -> str:
        from unmask.pipeline.prediction.verdicts import verdict_table
        from unmask.pipeline.reports.tables import comma_separated

        return comma_separated(verdict_table([], wide=True, names=self.names))

    def one(self, prediction: Any) -> str:
        from unmask.pipeline.prediction.verdicts import verdict_table
        from unmask.pipeline.reports.tables import comma_separated

        table = verdict_table([prediction], wide=True, names=self.names)
        return comma_separated(table).partition("\n")[2]


class Json(Spelling):
    """One object for all videos."""

    def opening(self) -> str:
        from unmask.pipeline.prediction.verdicts import json_opening
        from unmask.pipeline.reports.html import own_version

        return json_opening(own_version(), self.cautions)

    def one(self, prediction: Any) -> str:
        from unmask.pipeline.prediction.verdicts import json_item

        return ("," if self.count else "") + json_item(prediction)

    def closing(self, stopped: bool) -> str:
        from unmask.pipeline.prediction.verdicts import JSON_CLOSING

        return JSON_CLOSING


class JsonLines(Spelling):
    """An object of its own for every video."""

    def one(self, prediction: Any) -> str:
        from unmask.pipeline.prediction.verdicts import json_line
        from unmask.pipeline.reports.html import own_version

        return json_line(prediction, own_version(), self.cautions)

"""Collects the figures that the fault tests measure and prints them as one table at the end, from
all processes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """figure(what, measured): one line of the table; a longer form replaces the quick one's
    line.
    """

    def keep(what: str, measured: str) -> None:
        request.node.user_properties.append(("figure", f"{what}\t{measured}"))

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        report for name in ("passed", "failed") for report in terminalreporter.stats.get(name, [])
    ]
    told = [text for report in reports for name, text in report.user_properties if name == "figure"]
    figures = dict(text.split("\t", 1) for text in told)
    if figures:
        terminalreporter.section("faults: what was tried and what happened")
        width = max(map(len, figures))
        for what, measured in sorted(figures.items()):
            terminalreporter.write_line(f"{what:<{width}}  {measured}")

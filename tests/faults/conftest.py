"""Collects the figures that the fault tests measure and prints them as one table at the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

FIGURES = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash.setdefault(FIGURES, {})


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """figure(what, measured): one line of the table; a longer form replaces the quick one's line."""

    def keep(what: str, measured: str) -> None:
        request.config.stash.setdefault(FIGURES, {})[what] = measured

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(FIGURES, {})
    if figures:
        terminalreporter.section("faults: what was tried and what happened")
        width = max(map(len, figures))
        for what, measured in figures.items():
            terminalreporter.write_line(f"{what:<{width}}  {measured}")

"""What goes to a worker of predict and what comes back beside verdicts: plain records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """One video, and where its page and film go, if it shall have them."""

    path: Path
    page: Path | None = None
    film: Path | None = None


@dataclass(frozen=True)
class About:
    """What is said of one model before its first answer."""

    name: str
    doubts: tuple[str, ...]
    cautions: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """A line about a video's page or film. failed: it was asked for, and it is not there."""

    text: str
    failed: bool = False

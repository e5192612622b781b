"""Every error a user can cause or meet; the command line turns each into one line and an exit
code.
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_REFUSED = 4
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


# Bad lines of a file that a message names.
SHOWN = 20


def listing(problems: Sequence[str], head: str) -> str:
    """`head`, each of the first 20 problems on a line of its own, and how many more there are."""
    more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return "\n  ".join([head, *problems[:SHOWN], *more])


class PipelineError(Exception):
    """What was expected, what came, where, and what to do: one line, shown to the user as it is."""

    exit_code = EXIT_USAGE


class UsageError(PipelineError):
    """The command was asked for something it cannot do: a missing folder, an unknown name, an
    empty dataset.
    """


class ListError(UsageError):
    """An official list cannot be read; without it test videos would be trained on."""

    exit_code = EXIT_SOME_FAILED


class VideoError(PipelineError):
    """One video cannot be used; `reason` is a value of records.REASONS and becomes the video's
    Outcome.
    """

    exit_code = EXIT_SOME_FAILED

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        # An exception crosses from a worker process to the parent; the default would lose `reason`.
        return type(self), (self.reason, self.detail)


class CacheError(PipelineError):
    """A cache folder is absent, incomplete, damaged or of other settings than asked for."""

    exit_code = EXIT_REFUSED


class DiskError(CacheError):
    """The file system refuses a write (no space, quota, read-only); nothing half-written shows,
    and one can go on.
    """


class ClusterError(PipelineError):
    """The machines that were to do the work are not there (any more); what is done stays done."""

    exit_code = EXIT_REFUSED


class ManifestError(PipelineError):
    """A manifest cannot be trusted; the message names file and line of every bad line (the first
    20).
    """

    exit_code = EXIT_REFUSED


class ScoresError(PipelineError):
    """A scores file cannot be trusted; the message names file and line of every bad line (the
    first 20).
    """

    exit_code = EXIT_REFUSED


class CheckpointError(PipelineError):
    """A checkpoint is damaged, unsafe, or belongs to another model or other pixels."""

    exit_code = EXIT_REFUSED


class TrainError(PipelineError):
    """Training cannot go on: the loss is not finite any more."""

    exit_code = EXIT_REFUSED

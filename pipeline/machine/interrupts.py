"""Ctrl-C and SIGTERM ask the training loop to stop after its step; a second one ends the process at
once.

A hangup (the terminal was closed) changes nothing.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType

from unmask.pipeline.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_TERMINATED

CODES = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}


class Interrupts:
    """While the block lasts, the first signal only sets `asked`; outside the main thread nothing is
    changed.

    exit_code: 130 or 143 after a signal, else 0.
    """

    def __init__(self) -> None:
        self.asked = False
        self.exit_code = EXIT_OK
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in CODES}
            # a closed terminal is no reason to lose a day of training
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            os._exit(CODES[signal.Signals(number)])
        self.asked, self.exit_code = True, CODES[signal.Signals(number)]

"""One worker's life in a process of its own: `python -m benchmarks.one_video FILE WARM_UP SCRATCH`
prints JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> None:
    """Warm up on a short video, then time the one that is asked for."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from benchmarks.extraction import extract
    from unmask.pipeline.config import ExtractConfig
    from unmask.pipeline.machine.worker_pool import settle

    path, warm_up, scratch = (Path(argument) for argument in sys.argv[1:])
    settle()
    extract(warm_up, scratch, ExtractConfig())
    started = time.perf_counter()
    extract(path, scratch, ExtractConfig())
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak_mb": _peak_kib() * 1.024 / 1000}))


def _peak_kib() -> int:
    """Largest resident size of this very program; getrusage also counts the parent's, as it was at
    the fork.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise RuntimeError("/proc/self/status has no VmHWM")


if __name__ == "__main__":
    main()

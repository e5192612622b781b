"""One worker's life in a process of its own: `python -m benchmarks.one_video FILE WARM_UP SCRATCH` prints JSON."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    """Warm up on a short video, then time the one that is asked for."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from benchmarks.extraction import extract
    from benchmarks.rows import one_thread
    from pipeline.config import ExtractConfig

    path, warm_up, scratch = (Path(argument) for argument in sys.argv[1:])
    one_thread()
    extract(warm_up, scratch, ExtractConfig())
    started = time.perf_counter()
    extract(path, scratch, ExtractConfig())
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000  # KiB
    print(json.dumps({"seconds": seconds, "peak_mb": peak * 1.024}))


if __name__ == "__main__":
    main()

"""A GPU is asked for by name or taken where there is one; on a CPU the memory of a step stays for
the next.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unmask.pipeline.errors import UsageError
from unmask.pipeline.machine.devices import choose_device

ROOT = Path(__file__).parents[3]

# Allocate and free 200 MiB, then say how much of it the process still holds.
HELD = """
import sys
import torch
from unmask.pipeline.machine.memory import keep_freed_memory

keep_freed_memory(sys.argv[1])
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
before = resident()
for _ in range(3):
    torch.ones(50 << 20)
print(resident() - before)
"""


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="this machine has the GPU that must be missing here"
)
def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused() -> None:
    assert choose_device("auto") == choose_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="no GPU"):
        choose_device("cuda")


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc is told how to keep memory"
)
def test_on_a_cpu_freed_memory_is_kept_and_on_a_gpu_given_back() -> None:
    held = {
        device: int(
            subprocess.run(
                [sys.executable, "-c", HELD, device], cwd=ROOT, capture_output=True, check=True
            ).stdout
        )
        for device in ("cpu", "cuda")
    }
    assert held["cpu"] > 150 and held["cuda"] < 50


WORKING = """
import resource
import numpy as np
from unmask.pipeline.machine.memory import keep_some_freed_memory
keep_some_freed_memory()
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20
def clip():
    pages = [np.ones(20 << 20, np.uint8) for _ in range(3)]
clip()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    clip()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
before = resident()
np.ones(400 << 20, np.uint8)
pages = [np.ones(1 << 20, np.uint8) for _ in range(400)]
del pages
print(resident() - before)
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc is told how to keep memory"
)
def test_a_worker_keeps_what_a_clip_frees_and_gives_back_what_a_large_video_took() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKING], cwd=ROOT, capture_output=True, check=True
    )
    faults, kept_mib = map(int, done.stdout.split())
    assert faults < 1000, "600 MiB were taken from the system again, page by page: 153,600 faults"
    assert kept_mib < 150

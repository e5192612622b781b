"""Shared by all tests: where the real media lie, and one thread per process so that two cores are shared fairly."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="session")
def media() -> Path:
    """Folder with videos/, images/ and ffpp_splits/; tests that need it skip where it is absent."""
    root = os.environ.get("UNMASK_TEST_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("UNMASK_TEST_DATA does not name the folder with real test media")
    return Path(root)

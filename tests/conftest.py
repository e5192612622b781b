"""Shared by all tests: where the real media lie, and one thread per process so that two cores are
shared fairly.
"""

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


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small drawn dataset in the official FF++ tree: 6 reals, 12 fakes of two methods, split
    lists, mask videos.
    """
    from unmask.pipeline.demo.dataset import DemoConfig, draw_dataset
    from unmask.pipeline.sources.dataset import DRAWN_MARKER

    root = tmp_path_factory.mktemp("drawn") / "ffpp"
    small = DemoConfig(train_pairs=1, val_pairs=1, test_pairs=1, frames=30, width=320, height=240)
    assert len(list(draw_dataset(root, small))) == 18
    (root / DRAWN_MARKER).unlink()  # it stands for the real FaceForensics++, name and all
    return root

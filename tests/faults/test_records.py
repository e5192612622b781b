"""A record of ours that is damaged or forged costs that record: it is refused in words that name
it, never a traceback, whatever stands in it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.records import World, fuzz
from unmask.pipeline.errors import CheckpointError


def judge(root: Path, seeds: range, figure: Callable[[str, str], None]) -> None:
    counts = fuzz(root, seeds)
    faults = {name: one.faults for name, one in counts.items() if one.faults}
    refusals = sum(one.refused for one in counts.values())
    figure(
        "mutated records and lists",
        f"{len(seeds):,} of {len(counts)} kinds, {refusals:,} refused by name, the others read; "
        f"{sum(map(len, faults.values()))} faults",
    )
    assert sum(one.mutations for one in counts.values()) == len(seeds)
    assert refusals > 0.4 * len(seeds), "mutations that are not noticed are no test"
    assert not faults, "\n".join(f"{name}: {line}" for name in faults for line in faults[name][:5])


def test_every_record_is_read_before_it_is_mutated(tmp_path: Path) -> None:
    """Otherwise the tests below would see refusals of something else."""
    world = World(tmp_path)
    world.use_export()
    for name, kind in world.kinds().items():
        kind.renew()
        if name == "sidecar":  # no network behind it: opening one takes longer than all the rest
            with pytest.raises(CheckpointError, match=r"m\.onnx: (onnxruntime|takes|no ONNX)"):
                kind.use()
        else:
            kind.use()


def test_mutated_records_are_refused_by_name(
    tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    judge(tmp_path / "world", range(400), figure)


@pytest.mark.slow
def test_20_000_mutated_records_are_refused_by_name(
    tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    judge(tmp_path / "world", range(1000, 21_000), figure)

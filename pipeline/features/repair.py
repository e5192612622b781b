"""Every byte of a store of features against its digests, and what is damaged or missing made
again from the crops.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from unmask.pipeline.cache.feature_group import verify_features
from unmask.pipeline.disk.folders import restore_replaced
from unmask.pipeline.disk.locks import lock_cache
from unmask.pipeline.disk.temporaries import remove_stale
from unmask.pipeline.errors import CacheError
from unmask.pipeline.features.compute import Call, compute, outcomes_before
from unmask.pipeline.features.frozen import rebuilt
from unmask.pipeline.features.settings import INDEX, read_index
from unmask.pipeline.records import Entry, Outcome


def feature_folders(store: Path, dataset: str | None = None) -> list[Path]:
    """The folders <dataset>/<crop key>/<feature key> of a store, sorted."""
    return sorted(path.parent for path in store.glob(f"{dataset or '*'}/*/*/{INDEX}"))


def damaged(
    store: Path, dataset: str | None = None, looked: Callable[[], None] = lambda: None
) -> tuple[int, list[tuple[Path, str]]]:
    """(groups that are whole, (group, what is wrong) of all others, missing ones included).

    looked: called after each group.
    """
    whole, bad = 0, []
    for parent in feature_folders(store, dataset):
        try:
            names = set(read_index(parent)[1])
        except CacheError as error:
            bad.append((parent / INDEX, str(error)))
            names = set()
        refused = _refused(parent)
        there = {p.name for p in parent.iterdir() if p.is_dir() and not p.name.startswith(".")}
        for name in sorted(names | there):
            folder = parent / name
            if name not in there:
                if name not in refused:
                    bad.append((folder, "missing, its index names it"))
                continue
            problems = verify_features(folder)
            looked()
            if problems:
                bad.append((folder, "; ".join(problems[:3])))
            else:
                whole += 1
    return whole, bad


def repair(folders: Sequence[Path], call: Call) -> list[Outcome]:
    """Make exactly these groups again, with the encoder that their index names.

    Raises CacheError where an index cannot be read, CheckpointError where the encoder's weights are
    not to be had any more.
    """
    by_parent: dict[Path, list[str]] = defaultdict(list)
    for folder in folders:
        by_parent[folder.parent].append(folder.name)
    ended: list[Outcome] = []
    for parent, names in by_parent.items():
        settings, _ = read_index(parent)
        head = f"{parent.parent.parent.name}/{parent.parent.name}"
        entries = [Entry(f"{head}/{name}", 0) for name in names]
        again = {entry.folder for entry in entries}
        ended += compute(entries, rebuilt(settings), call, again=again)
    return ended


def _refused(parent: Path) -> set[str]:
    """Ids of videos that have no features for a reason that is written down."""
    return {name for name, one in outcomes_before(parent).items() if one.status != "ok"}


def tidy(store: Path, dataset: str | None = None) -> None:
    """Clear what a repair that died has left where nothing needs mending any more; a folder that
    another run holds, or that may not be written, stays as it is.
    """
    for parent in feature_folders(store, dataset):
        with contextlib.suppress(CacheError), lock_cache(parent):
            restore_replaced(parent)
            remove_stale(parent)

"""Train, val and test by leakage group: what shares a recording or a person never lies on both
sides.

Ours: groups are ordered by a digest of seed and name, then cut by the ratio, within strata of equal
labels, so that every split gets reals and fakes and one more video moves few others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import SPLITS

DEFAULT_RATIO = (0.70, 0.15, 0.15)


def check_ratio(ratio: tuple[float, ...]) -> tuple[float, float, float]:
    """The ratio itself; UsageError unless it is three shares that make 1."""
    if len(ratio) != 3 or min(ratio) < 0 or abs(sum(ratio) - 1) > 1e-6:
        raise UsageError(
            f"split ratio {ratio} is not three shares that make 1, such as 0.7,0.15,0.15"
        )
    return ratio[0], ratio[1], ratio[2]


def read_ratio(text: str | None) -> tuple[float, float, float] | None:
    """`0.7,0.15,0.15` as shares; UsageError when it is not three that make 1."""
    if text is None:
        return None
    try:
        ratio = tuple(float(word) for word in text.replace("/", ",").split(","))
    except ValueError:
        raise UsageError(
            f"split ratio {text!r} is not three shares that make 1, such as 0.7,0.15,0.15"
        ) from None
    return check_ratio(ratio)


def split_groups(
    members: Mapping[str, Iterable[int]], ratio: tuple[float, ...], seed: int
) -> dict[str, str]:
    """Split of each group.

    members: group -> labels of its videos, one per video. Groups with the same set of labels form a
    stratum; in it each split is filled to its share of the videos, and gets at least one group
    where there are enough groups.
    """
    shares = check_ratio(ratio)
    strata: dict[tuple[int, ...], list[tuple[str, int]]] = defaultdict(list)
    for group, labels in members.items():
        labels = list(labels)
        strata[tuple(sorted(set(labels)))].append((group, len(labels)))
    result: dict[str, str] = {}
    for stratum in strata.values():
        stratum.sort(key=lambda item: _order(seed, item[0]))
        result.update(_cut(stratum, shares))
    return result


def _order(seed: int, group: str) -> bytes:
    return hashlib.sha256(f"{seed}:{group}".encode("utf-8", "surrogateescape")).digest()


def _cut(groups: list[tuple[str, int]], shares: tuple[float, ...]) -> dict[str, str]:
    """Give each group, in order, to the split that lacks most; empty splits come first while
    groups are few.
    """
    total = sum(size for _, size in groups)
    wanted = [share * total for share in shares]
    filled = [0.0] * len(SPLITS)
    result = {}
    for place, (group, size) in enumerate(groups):
        left = len(groups) - place
        empty = [k for k in range(len(SPLITS)) if shares[k] > 0 and not filled[k]]
        if empty and left <= len(empty):
            chosen = empty[0]
        else:
            chosen = max(range(len(SPLITS)), key=lambda k: (wanted[k] - filled[k], shares[k]))
        filled[chosen] += size
        result[group] = SPLITS[chosen]
    return result


def joined_groups(links: Iterable[tuple[Hashable, Hashable]]) -> dict[Hashable, Hashable]:
    """Connected parts of a graph given by its edges: node -> smallest node of its part (by
    text).
    """
    parent: dict[Hashable, Hashable] = {}

    def root(node: Hashable) -> Hashable:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in links:
        first, second = sorted((root(a), root(b)), key=str)
        parent[second] = first
    return {node: root(node) for node in list(parent)}

"""What can be said of and made from manifests: counts, leaks between them, a merged or a filtered
one.

What a video is (dataset, method, compression, leakage group) is read from the attributes of its
cached group; folders of pictures have none, for them only the folder's name counts.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unmask.pipeline.cache.video import attributes_of
from unmask.pipeline.errors import ManifestError, UsageError
from unmask.pipeline.manifests.checked import Manifest
from unmask.pipeline.records import FAKE, REAL, Entry

NO_METHOD = "unknown"


@dataclass(frozen=True)
class About:
    """What the cache says of one entry's video; group is (dataset, leakage group), or None for
    picture folders.

    content: sha256 of the video file's bytes, or "" where the cache does not say.
    key: the video's name in its dataset; the tracks of one video share it.
    """

    dataset: str
    method: str
    compression: str
    group: tuple[str, str] | None
    label: int | None
    content: str = ""
    key: str = ""


@dataclass(frozen=True)
class Leak:
    """Videos that two manifests share: the same ones, others of the same leakage group (pair,
    person, source), or the same file under another name.

    copies: (folder in the first, folder in the second) of equal files.
    """

    first: Path
    second: Path
    videos: tuple[str, ...]
    groups: tuple[tuple[str, str], ...]
    copies: tuple[tuple[str, str], ...] = ()


def about(folder: Path, entry: Entry) -> About:
    """Facts of one entry from its cached group.

    Raises: ManifestError if the metadata is damaged.
    """
    facts = attributes_of(folder)
    dataset, group, label = (
        str(facts.get("dataset") or entry.folder.split("/")[0]),
        facts.get("group"),
        facts.get("label"),
    )
    file = facts.get("file")
    return About(
        dataset,
        str(facts.get("method") or ("real" if entry.label == REAL else NO_METHOD)),
        str(facts.get("compression") or "none"),
        (dataset, str(group)) if group else None,
        label if isinstance(label, int) else None,
        str(file.get("sha256") or "") if isinstance(file, dict) else "",
        str(facts.get("key") or entry.folder),
    )


def all_about(manifest: Manifest) -> list[About]:
    """Facts of every entry, in order."""
    return [
        about(folder, entry)
        for folder, entry in zip(manifest.folders, manifest.entries, strict=True)
    ]


def count(manifest: Manifest) -> list[tuple[str, str, str, int, int]]:
    """(dataset, compression, method, label, videos), sorted."""
    counts = Counter(
        (facts.dataset, facts.compression, facts.method, entry.label)
        for facts, entry in zip(all_about(manifest), manifest.entries, strict=True)
    )
    return [(*cell, number) for cell, number in sorted(counts.items())]


def relabelled(manifest: Manifest) -> list[Entry]:
    """Entries whose label differs from the one their cached group carries."""
    facts = all_about(manifest)
    return [
        e
        for e, f in zip(manifest.entries, facts, strict=True)
        if f.label is not None and f.label != e.label
    ]


def leaks(manifests: Sequence[Manifest]) -> list[Leak]:
    """What any two of the manifests share; empty when they are apart."""
    videos = [
        {os.path.realpath(f): e.folder for f, e in zip(m.folders, m.entries, strict=True)}
        for m in manifests
    ]
    known = [all_about(m) for m in manifests]
    groups = [{facts.group for facts in part if facts.group} for part in known]
    contents = [
        {f.content: e.folder for f, e in zip(part, m.entries, strict=True) if f.content}
        for part, m in zip(known, manifests, strict=True)
    ]
    found = []
    for a in range(len(manifests)):
        for b in range(a + 1, len(manifests)):
            same = sorted(videos[a][path] for path in videos[a].keys() & videos[b].keys())
            shared = sorted(groups[a] & groups[b])
            equal = sorted(
                (contents[a][content], contents[b][content])
                for content in contents[a].keys() & contents[b].keys()
                if contents[a][content] != contents[b][content]
            )
            if same or shared or equal:
                first, second = manifests[a].path, manifests[b].path
                found.append(Leak(first, second, tuple(same), tuple(shared), tuple(equal)))
    return found


def contradictions(manifests: Sequence[Manifest]) -> list[tuple[Entry, Entry]]:
    """(first entry, later entry) of equal files under two names and two labels; two tracks of one
    video may well differ.
    """
    first: dict[str, tuple[Entry, About]] = {}
    found = []
    for manifest in manifests:
        for facts, entry in zip(all_about(manifest), manifest.entries, strict=True):
            if not facts.content:
                continue
            other, known = first.setdefault(facts.content, (entry, facts))
            if other.label != entry.label and known.key != facts.key:
                found.append((other, entry))
    return found


def merge(manifests: Sequence[Manifest]) -> list[Entry]:
    """All entries, first come first; videos that stand in several manifests come once.

    Raises: ManifestError for one video with two labels, or manifests of different cache keys.
    """
    keys = {manifest.key: manifest.path for manifest in manifests}
    if len(keys) > 1:
        where = ", ".join(f"{path} ({key})" for key, path in keys.items())
        raise ManifestError(f"manifests of different extractions must not be mixed: {where}")
    kept: dict[str, tuple[Entry, Manifest]] = {}
    for manifest in manifests:
        for entry in manifest.entries:
            first, home = kept.setdefault(entry.folder, (entry, manifest))
            if first.label != entry.label:
                raise ManifestError(
                    f"{manifest.path}:{entry.line}: {entry.folder!r} has label {entry.label} here, "
                    f"{first.label} in {home.path}:{first.line}"
                )
    return [entry for entry, _ in kept.values()]


def select(
    manifest: Manifest,
    *,
    methods: Sequence[str] = (),
    compression: str = "",
    label: int | None = None,
    limit: int = 0,
    balance: bool = False,
    balance_by: Sequence[str] = (),
    seed: int = 1,
) -> list[Entry]:
    """Entries that fit, in the manifest's order.

    methods: of the fakes, reals always come along.
    limit: most videos per label.
    balance: as many reals as fakes.
    balance_by: as many reals as fakes of every combination of these facts (fps, height ...), so
        that none of them tells the label any more.
    Which ones stay is decided by a digest of seed and folder, so it does not depend on the order.
    Raises: UsageError for a method or compression that does not occur, or when nothing is left.
    """
    facts = all_about(manifest)
    known = {f.method for f, e in zip(facts, manifest.entries, strict=True) if e.label == FAKE}
    _must_occur(methods, known, "method")
    _must_occur([compression] if compression else [], {f.compression for f in facts}, "compression")
    wanted = {method.casefold() for method in methods}
    fitting = [
        entry
        for entry, f in zip(manifest.entries, facts, strict=True)
        if (not wanted or entry.label == REAL or f.method.casefold() in wanted)
        and (not compression or f.compression == compression)
        and label in (None, entry.label)
    ]
    if balance_by:
        fitting = _balanced(manifest, fitting, balance_by, seed)
    kept = _at_most(fitting, limit, balance, seed)
    if not kept:
        raise UsageError(f"{manifest.path}: no entry fits the filter")
    return kept


def _balanced(
    manifest: Manifest, entries: Sequence[Entry], names: Sequence[str], seed: int
) -> list[Entry]:
    """Entries of cells that hold both classes, the same number of each."""
    place = dict(zip(manifest.entries, manifest.folders, strict=True))
    cells: dict[tuple, list[Entry]] = defaultdict(list)
    for entry in entries:
        cells[_facts(place[entry], names)].append(entry)
    kept = {
        entry.folder
        for cell in cells.values()
        if {entry.label for entry in cell} == {REAL, FAKE}
        for entry in _at_most(cell, 0, True, seed)
    }
    if not kept:
        raise UsageError(
            f"{manifest.path}: no value of {', '.join(names)} has reals and fakes; nothing is left"
        )
    return [entry for entry in entries if entry.folder in kept]


def _facts(folder: Path, names: Sequence[str]) -> tuple[object, ...]:
    """What the cache says of a video under these names; rates to a thousandth."""
    attributes = attributes_of(folder)
    media = attributes.get("media")
    known = {
        **(media if isinstance(media, dict) else {}),
        "compression": attributes.get("compression"),
    }
    lacking = [name for name in names if known.get(name) is None]
    if lacking:
        there = ", ".join(sorted(name for name, value in known.items() if value is not None))
        raise UsageError(
            f"{folder}: the cache does not know {lacking[0]!r} of it; it knows {there or 'nothing'}"
        )
    values = (known[name] for name in names)
    return tuple(round(v, 3) if isinstance(v, float) else str(v) for v in values)


def _must_occur(asked: Sequence[str], present: set[str], what: str) -> None:
    lacking = [name for name in asked if name.casefold() not in {p.casefold() for p in present}]
    if lacking:
        there = ", ".join(sorted(present)) or "none"
        raise UsageError(f"no {what} {lacking[0]!r} in the manifest; it has {there:.1000}")


def _at_most(entries: list[Entry], limit: int, balance: bool, seed: int) -> list[Entry]:
    by_label: dict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_label[entry.label].append(entry)
    most = limit or len(entries)
    if balance:
        most = min(most, len(by_label[REAL]), len(by_label[FAKE]))
    kept = {
        entry.folder
        for chosen in by_label.values()
        for entry in sorted(
            chosen, key=lambda e: hashlib.sha256(f"{seed}:{e.folder}".encode()).digest()
        )[:most]
    }
    return [entry for entry in entries if entry.folder in kept]

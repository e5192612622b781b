"""May this run be evaluated on this manifest? Videos it was trained on and other pixels are found
before scoring.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from unmask.models.spec import ClipSpec
from unmask.pipeline.cache.clip_reader import ClipReader
from unmask.pipeline.cache.index import settings_in_cache
from unmask.pipeline.cache.video import attributes_of
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.clips.stored_bands import BandsFrom
from unmask.pipeline.config import CropConfig
from unmask.pipeline.errors import CacheError, ManifestError
from unmask.pipeline.manifests.checked import PICTURES_KEY
from unmask.pipeline.manifests.text import parse
from unmask.pipeline.records import REAL, Entry
from unmask.pipeline.runs.provenance import known_of
from unmask.pipeline.runs.run_folder import Run

SHOWN = 3


@dataclass(frozen=True)
class Allowed:
    """What the user asked for in spite of the doubts; each of them becomes a caution in the
    report.
    """

    cache: Path
    missing: bool = False
    leakage: bool = False
    other_pixels: bool = False
    bands: BandsFrom = "auto"


def admit(path: Path, run: Run, model: nn.Module, allowed: Allowed) -> tuple[ClipSource, list[str]]:
    """The manifest's clips as the model eats them, and what the report must say.

    Raises ManifestError for videos or leakage groups that training has seen, CacheError for crops
    of other settings (naming them), and what ClipSource raises.
    """
    cache = allowed.cache
    source = ClipSource(
        path,
        cache,
        replace(model.spec, masks=False),
        allow_missing=allowed.missing,
        bands=allowed.bands,
    )
    pixels = other_pixels(source, run, cache)
    if pixels and not allowed.other_pixels:
        raise CacheError(
            f"{source.path}: {pixels}; extract again with the run's settings, or take "
            "--other-pixels"
        )
    knowledge = known_of(run)
    leak = find_leaks(source, run.manifest, cache, reals_only=knowledge.real_only)
    if not allowed.leakage:
        leak.refuse(source.path)
    doubts = (f"Other pixels: {pixels}." if pixels else "", leak.caution)
    return source, [*knowledge.cautions, *filter(None, doubts)]


def other_pixels(source: ClipSource, run: Run, cache: Path) -> str:
    """Empty when the crops have the key the run was trained on; else both keys and the settings
    that differ.
    """
    here = source.readers[0].attributes.get("settings")
    if "release" in run.document and isinstance(here, dict):
        return _unlike_release(run, here)
    if source.key == run.key or PICTURES_KEY in (source.key, run.key) or not run.key:
        return ""
    there = settings_in_cache(cache, run.key) or run.settings
    differing = CropConfig.differing(there, here) if isinstance(here, dict) and there else {}
    values = ", ".join(
        f"{name} {ours!r} instead of {trained!r}" for name, (trained, ours) in differing.items()
    )
    return (
        f"its crops have key {source.key}, the run was trained on {run.key}"
        f"{': ' if values else ''}{values}"
    )


# What of our settings a release's makers had too: how large a face lies in how many pixels.
OF_A_RELEASE = ("size", "margin")


def _unlike_release(run: Run, here: dict[str, object]) -> str:
    """Empty when crops lie as the release's profile asks; else what differs."""
    wanted = {name: run.settings.get(name) for name in OF_A_RELEASE}
    found = {name: here.get(name) for name in OF_A_RELEASE}
    pairs = CropConfig.differing(wanted, found).items()
    values = ", ".join(f"{name} {ours!r} instead of {theirs!r}" for name, (theirs, ours) in pairs)
    return f"its crops are not cut as {run.folder.name} wants them: {values}" if values else ""


@dataclass(frozen=True)
class Leakage:
    """Entries of the evaluated manifest that training has seen.

    videos: the same video, in whatever compression, or the same file.
    groups: only the same leakage group.
    checked: False when the training manifest is gone; `note` then says so.
    official: every group leak comes from split lists of the dataset's owners, which are kept as
        they are.
    """

    videos: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    official: bool = False
    checked: bool = True
    note: str = ""

    def refuse(self, manifest: Path) -> None:
        """Raise ManifestError for videos that training has seen, and for groups split by no
        official list.
        """
        for names, what in (
            (self.videos, "videos"),
            (() if self.official else self.groups, "leakage groups"),
        ):
            if names:
                first = ", ".join(names[:SHOWN])
                raise ManifestError(
                    f"{manifest}: {len(names)} {what} are in the run's training manifest too "
                    f"(first: {first}); "
                    "the numbers would be wrong. --allow-leakage scores them all the same and "
                    "says so in the report"
                )

    @property
    def caution(self) -> str:
        """What a report must say, or ""."""
        if not self.checked:
            return self.note
        parts = []
        if self.videos:
            parts.append(
                f"{len(self.videos)} of these videos were trained on: the numbers below are too "
                "good."
            )
        if self.groups:
            parts.append(
                f"{len(self.groups)} videos share a person or source with a training video."
            )
        return " ".join(parts)


def identity(attributes: dict[str, object], folder: str) -> Hashable:
    """What stays the same when a video is compressed again: dataset and its owners' name without
    the compression.
    """
    key = str(attributes.get("key") or Path(folder).name)
    compression = str(attributes.get("compression") or "")
    return attributes.get("dataset") or Path(folder).parent.name, tuple(
        p for p in key.split("/") if p != compression
    )


def digest(attributes: dict[str, object]) -> str:
    """sha256 of the video file, or ""."""
    file = attributes.get("file")
    return str(file.get("sha256") or "") if isinstance(file, dict) else ""


def group(attributes: dict[str, object]) -> Hashable:
    """The leakage group within its dataset, or None."""
    return (attributes.get("dataset"), attributes["group"]) if attributes.get("group") else None


def find_leaks(
    source: ClipSource, training: Path, cache_root: Path, *, reals_only: bool = False
) -> Leakage:
    """Compare the videos of `source` with those of a training manifest, by the cached attributes
    of both.

    reals_only: training read no fake of its manifest.
    """
    if training == Path():
        return Leakage(
            checked=False,
            note="Whether these videos were trained on is unknown: a release lists none.",
        )
    trained = _trained(training, cache_root, reals_only)
    if trained is None:
        return Leakage(
            checked=False,
            note=f"Whether these videos were trained on is unknown: {training} is gone.",
        )
    names = _known(trained, lambda attributes, entry: identity(attributes, entry.folder))
    files, groups = _known(trained, lambda a, _: digest(a)), _known(trained, lambda a, _: group(a))
    folders = {entry.folder for _, entry in trained}
    videos, shared, official = [], [], True
    for reader, entry in zip(source.readers, source.entries, strict=True):
        facts = reader.attributes
        same = (
            identity(facts, entry.folder) in names
            or digest(facts) in files
            or entry.folder in folders
        )
        if same:
            videos.append(Path(entry.folder).name)
        elif group(facts) in groups:
            shared.append(Path(entry.folder).name)
            official = official and facts.get("split_origin") == "official"
    return Leakage(tuple(videos), tuple(shared), official)


def _known(
    trained: Iterable[tuple[dict[str, object], Entry]],
    what: Callable[[dict[str, object], Entry], Hashable],
) -> set[Hashable]:
    return {value for attributes, entry in trained if (value := what(attributes, entry))}


def _trained(
    training: Path, cache_root: Path, reals_only: bool
) -> list[tuple[dict[str, object], Entry]] | None:
    try:
        data = training.read_bytes()
    except OSError:
        return None
    if training.suffix == ".h5":
        return [(reader.attributes, entry) for reader, entry in _exported(training, cache_root)]
    return [
        (attributes_of(cache_root / entry.folder), entry)
        for entry in parse(data, str(training))
        if not reals_only or entry.label == REAL
    ]


def _exported(training: Path, cache_root: Path) -> list[tuple[ClipReader, Entry]]:
    source = ClipSource(training, cache_root, ClipSpec("single", 1))
    return list(zip(source.readers, source.entries, strict=True))

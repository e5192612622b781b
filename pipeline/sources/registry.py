"""Which datasets are known, by name: the explicit table, what installed packages offer under the
entry-point group `unmask.datasets`, and the one call that turns a root folder into a Dataset.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from unmask.pipeline.errors import PipelineError, UsageError
from unmask.pipeline.records import DRAWN
from unmask.pipeline.sources.dataset import (
    DRAWN_MARKER,
    Dataset,
    Source,
    SourceOptions,
    data_root,
)
from unmask.pipeline.sources.layouts import (
    avdeepfake1m,
    celebdf,
    csv_table,
    deeperforensics,
    deepfakeeval,
    deepspeak,
    df40,
    dfd,
    dfdc,
    dfdcp,
    dfdm,
    dftimit,
    fakeavceleb,
    ffiw,
    ffpp,
    folder,
    forgerynet,
    kodf,
    lavdf,
    srdf,
    synthforensics,
    tvil,
    uadfv,
    wilddeepfake,
)
from unmask.pipeline.sources.names import slug
from unmask.plugins import Offer, PluginError, offers

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        ffpp.SOURCE,
        dfd.SOURCE,
        *celebdf.SOURCES,
        dfdc.SOURCE,
        dfdcp.SOURCE,
        fakeavceleb.SOURCE,
        lavdf.SOURCE,
        *avdeepfake1m.SOURCES,
        tvil.SOURCE,
        uadfv.SOURCE,
        dftimit.SOURCE,
        wilddeepfake.SOURCE,
        srdf.SOURCE,
        deeperforensics.SOURCE,
        forgerynet.SOURCE,
        df40.SOURCE,
        dfdm.SOURCE,
        ffiw.SOURCE,
        kodf.SOURCE,
        deepspeak.SOURCE,
        synthforensics.SOURCE,
        deepfakeeval.SOURCE,
        folder.SOURCE,
        csv_table.SOURCE,
    )
}


def list_sources() -> dict[str, Source]:
    """Name -> dataset: unmask's own in the order of the table, then those of installed packages.

    A package that cannot be used costs only itself; `broken_sources` says why.
    """
    return {**SOURCES, **{name: found.source for name, found in _offered().items() if found.source}}


def broken_sources() -> list[str]:
    """One line for each dataset of an installed package that cannot be used."""
    return [found.fault for found in _offered().values() if found.fault]


def origin_of(name: str) -> str:
    """The distribution a dataset's layout comes from."""
    return "unmask" if name in SOURCES else _offered()[name].origin


@dataclass(frozen=True)
class _Offered:
    """A dataset of somebody's package: its layout, or why there is none."""

    origin: str
    source: Source | None = None
    fault: str = ""


def _offered() -> dict[str, _Offered]:
    return {name: _opened(offer) for name, offer in offers("datasets", frozenset(SOURCES)).items()}


@cache
def _opened(offer: Offer) -> _Offered:
    try:
        source = offer.load()
        if not isinstance(source, Source):
            raise offer.fault(f"{source!r:.80} is not a Source")
        if source.name != offer.name or slug(source.name) != source.name:
            raise offer.fault(f"its Source is called {source.name!r}")
    except PluginError as error:
        return _Offered(offer.origin, fault=str(error))
    return _Offered(offer.origin, source)


def resolve(name: str) -> Source:
    """The dataset of that name or alias, in any case and punctuation; UsageError names the
    nearest.
    """
    # Our own words first: nobody's package changes what they mean, or is imported to find them.
    own = _words(SOURCES)
    if _plain(name) in own:
        return own[_plain(name)]
    known = {**_words(list_sources()), **own}
    if _plain(name) in known:
        return known[_plain(name)]
    for offered, found in _offered().items():
        if _plain(offered) == _plain(name):
            raise UsageError(found.fault)
    near = difflib.get_close_matches(_plain(name), known, n=1, cutoff=0.5)
    listed = ", ".join(list_sources())
    hint = f"did you mean {known[near[0]].name!r}?" if near else f"known: {listed}"
    raise UsageError(f"no dataset {name!r}; {hint} (`datasets` lists all of them)")


def _words(sources: Mapping[str, Source]) -> dict[str, Source]:
    """Every name and alias in its plain form -> the dataset."""
    return {
        _plain(word): source
        for source in sources.values()
        for word in (source.name, *source.aliases)
    }


def discover(name: str, root: Path, options: SourceOptions | None = None) -> Dataset:
    """All videos of the dataset `name` under `root`, sorted, with splits and safe ids; no file is
    opened but lists.

    Raises: UsageError for an unknown name, a root that is no folder, absent official lists, an
    empty dataset.
    """
    source = resolve(name)
    root = Path(os.path.abspath(root))
    if not root.exists():
        raise UsageError(
            f"{source.name}: no folder {str(root)!r}; give --root, or set UNMASK_DATA to the "
            "folder that holds "
            f"{source.name}/"
        )
    if not root.is_dir() and source.name != "csv":
        raise UsageError(f"{source.name}: {str(root)!r} is not a folder")
    options = options or SourceOptions()
    if options.name and slug(options.name) != options.name:
        raise UsageError(
            f"{source.name}: the name {options.name!r} becomes a folder of the cache; call it "
            f"{slug(options.name)!r}"
        )
    own = source.name in SOURCES
    found = source.discover(root, options) if own else _checked(source, root, options)
    places = [root, found.root, *([options.reals] if options.reals else [])]
    return _drawn(found) if any(map(_is_drawn, places)) else found


def _checked(source: Source, root: Path, options: SourceOptions) -> Dataset:
    """What somebody's layout finds. Raises UsageError, whatever it does wrong."""
    title = f"dataset {source.name!r} of package {origin_of(source.name)}"
    try:
        dataset = source.discover(root, options)
    except PipelineError:
        raise
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{title} cannot be used: {why:.300}") from error
    if not isinstance(dataset, Dataset):
        raise UsageError(f"{title} cannot be used: it found {dataset!r:.80}, which is no Dataset")
    names = [video.video_id for video in dataset.videos]
    if len(set(names)) < len(names) or any(slug(name) != name for name in names):
        raise UsageError(f"{title} cannot be used: its video ids are not unique slugs")
    return dataset


def _is_drawn(root: Path) -> bool:
    """Whether the folder, or one around it, is marked as drawn."""
    root = Path(os.path.abspath(root))
    return any((folder / DRAWN_MARKER).is_file() for folder in (root, *root.parents))


def _drawn(found: Dataset) -> Dataset:
    """The same videos under the name of drawn ones, whatever tree they imitate."""
    videos, missing = (
        tuple(replace(video, dataset=DRAWN) for video in part)
        for part in (found.videos, found.missing)
    )
    note = f"drawn, not filmed: these are called {DRAWN!r}, and no verdict may rest on them"
    return replace(found, name=DRAWN, videos=videos, missing=missing, notes=(*found.notes, note))


def default_root(name: str) -> Path:
    """Where a dataset lies when nobody says: `$UNMASK_DATA/<name>`, else `data/<name>`."""
    return data_root(resolve(name).name)


def _plain(name: str) -> str:
    return re.sub(r"[\s_.\-]+", "", name.casefold())

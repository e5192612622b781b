"""Which datasets are known, by name: the explicit table, and the one call that turns a root folder
into a Dataset.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.sources.dataset import Dataset, Source, SourceOptions, data_root
from unmask.pipeline.sources.layouts import (
    avdeepfake1m,
    celebdf,
    csv_table,
    deeperforensics,
    dfd,
    dfdc,
    dfdcp,
    dftimit,
    fakeavceleb,
    ffpp,
    folder,
    forgerynet,
    lavdf,
    srdf,
    tvil,
    uadfv,
    wilddeepfake,
)
from unmask.pipeline.sources.names import slug

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
        avdeepfake1m.SOURCE,
        tvil.SOURCE,
        uadfv.SOURCE,
        dftimit.SOURCE,
        wilddeepfake.SOURCE,
        srdf.SOURCE,
        deeperforensics.SOURCE,
        forgerynet.SOURCE,
        folder.SOURCE,
        csv_table.SOURCE,
    )
}


def resolve(name: str) -> Source:
    """The dataset of that name or alias, in any case and punctuation; UsageError names the
    nearest.
    """
    known = {
        _plain(word): source
        for source in SOURCES.values()
        for word in (source.name, *source.aliases)
    }
    if _plain(name) in known:
        return known[_plain(name)]
    near = difflib.get_close_matches(_plain(name), known, n=1, cutoff=0.5)
    hint = f"did you mean {known[near[0]].name!r}?" if near else f"known: {', '.join(SOURCES)}"
    raise UsageError(f"no dataset {name!r}; {hint} (`datasets` lists all of them)")


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
    return source.discover(root, options)


def default_root(name: str) -> Path:
    """Where a dataset lies when nobody says: `$UNMASK_DATA/<name>`, else `data/<name>`."""
    return data_root(resolve(name).name)


def _plain(name: str) -> str:
    return re.sub(r"[\s_.\-]+", "", name.casefold())

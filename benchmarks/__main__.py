"""Measure everything, print the table and store it: `python -m benchmarks [--full] [--only NAMES]
[--keep FOLDER]`.

Set UNMASK_TEST_DATA to measure on real videos; without it they are drawn. With --only, the other
rows of the stored table stay as they were measured before; every row keeps its own date and the
load of the machine.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.media import real_folder
from benchmarks.rows import Row, load, text_table

# In the order of the table. Those of extraction take (scratch folder, full), the others full or
# nothing.
GROUPS = (
    "extraction",
    "decoding",
    "detection",
    "workers",
    "scaling",
    "storage",
    "bands",
    "loading",
    "discovery",
    "models_clrnet",
    "models_stil",
    "models_m2tr",
    "models_attention",
    "models_vim",
    "models_encoder",
)
WITH_SCRATCH = frozenset(GROUPS[:8])
QUICK_ONLY = frozenset(
    {"models_attention", "models_encoder", "models_m2tr", "models_stil", "models_vim"}
)
HERE = Path(__file__).parent
HEADER = ("what", "against", "measured", "target", "met")
LIBRARIES = (
    "av",
    "torch",
    "opencv-python-headless",
    "facenet-pytorch",
    "zarr",
    "numcodecs",
    "scipy",
    "joblib",
)


def main() -> int:
    """Run the chosen groups one after the other; 1 when one of them could not be measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Ratios of speed and memory."
    )
    parser.add_argument("--full", action="store_true", help="all sizes and formats, more repeats")
    parser.add_argument("--only", default="", metavar="NAMES", help=f"some of {','.join(GROUPS)}")
    parser.add_argument(
        "--keep", type=Path, help="folder for the encoded videos, used again by the next run"
    )
    parser.add_argument(
        "--out", type=Path, default=HERE, help="where results.json and results.md go"
    )
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(GROUPS)
    unknown = set(chosen) - set(GROUPS)
    if unknown:
        parser.error(f"--only: {', '.join(sorted(unknown))} not among {', '.join(GROUPS)}")
    # The parent's own numbers are of one thread, as a worker's; set before numpy and torch are
    # loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    stored = _read(options.out / "results.json") if options.only else {}
    broken = []
    with _scratch(options.keep) as scratch:
        for name in chosen:
            try:
                stored[name] = _measure(name, scratch, options.full)
            except Exception as error:  # one group that cannot run must not cost the others
                broken.append(name)
                print(
                    f"{name}: not measured, {type(error).__name__}: {error}",
                    file=sys.stderr,
                    flush=True,
                )
    _store(options.out, {name: stored[name] for name in GROUPS if name in stored})
    return 1 if broken else 0


class _scratch:
    """The folder given, or one that goes away."""

    def __init__(self, keep: Path | None) -> None:
        self.keep, self.own = (
            keep,
            None if keep else tempfile.TemporaryDirectory(prefix="unmask-bench-"),
        )

    def __enter__(self) -> Path:
        if self.own:
            return Path(self.own.name)
        self.keep.mkdir(parents=True, exist_ok=True)
        return self.keep

    def __exit__(self, *_: object) -> None:
        if self.own:
            self.own.cleanup()


def _measure(name: str, scratch: Path, full: bool) -> dict[str, object]:
    rows_of = importlib.import_module(f"benchmarks.{name}").rows
    arguments = (scratch, full) if name in WITH_SCRATCH else () if name in QUICK_ONLY else (full,)
    load_before, started = load(), time.perf_counter()
    rows = [Row(*row) for row in rows_of(*arguments)]
    seconds = time.perf_counter() - started
    about = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "seconds": round(seconds),
        "load_before": round(load_before, 1),
        "full": full,
        "rows": [row._asdict() for row in rows],
    }
    print(text_table([HEADER, *_cells(about)]), end="\n\n", flush=True)
    return about


def _cells(group: dict[str, object]) -> Iterator[tuple[str, ...]]:
    for values in group["rows"]:
        row = Row(**values)
        target = f"{'<=' if row.most else '>='} {row.target:g}" if row.target else "stated"
        yield row.what, row.against, f"{row.measured:.3g}", target, "yes" if row.met else "NO"


def _read(path: Path) -> dict[str, dict[str, object]]:
    return json.loads(path.read_text())["groups"] if path.exists() else {}


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    models = [
        line.split(":", 1)[1].strip()
        for line in info.read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"
    )


def _store(folder: Path, groups: dict[str, dict[str, object]]) -> None:
    versions = {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()}
    about = {
        "machine": _machine(),
        "versions": versions,
        "videos": "real" if real_folder() else "drawn",
        "groups": groups,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(about, indent=1) + "\n")
    (folder / "results.md").write_text(_markdown(about))
    rows = [cells for group in groups.values() for cells in _cells(group)]
    print(text_table([HEADER, *rows]))
    print(
        f"\n{sum(row[-1] == 'yes' for row in rows)} of {len(rows)} met or stated; "
        f"{folder / 'results.md'}"
    )


def _markdown(about: dict[str, object]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines = [
        "# Measured by `python -m benchmarks`",
        "",
        f"Machine: {about['machine']}. {versions}. Videos: {about['videos']}.",
        "Each row is a pair measured in turn in one process on the same input, best times; "
        "ratios unless the row "
        "says otherwise. Load: processes that wanted a core in the minute before; above 0.5 "
        "others were at work too.",
        "",
    ]
    for name, group in about["groups"].items():
        form = "full" if group["full"] else "quick"
        lines += [
            f"## {name}",
            "",
            f"{group['date']}, {form} form, {group['seconds']} s, load {group['load_before']}",
            "",
            "| what | against | measured | target | met | note |",
            "|---|---|---|---|---|---|",
        ]
        notes = [values["note"] for values in group["rows"]]
        lines += [
            f"| {' | '.join((*cells, note))} |"
            for cells, note in zip(_cells(group), notes, strict=True)
        ]
        lines.append("")
    notes = HERE / "notes.md"
    return "\n".join(lines) + ("\n" + notes.read_text() if notes.exists() else "")


if __name__ == "__main__":
    sys.exit(main())

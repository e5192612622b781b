"""How every video ended: remembered beside the cache, listed beside the manifests, summed up for
the terminal.

A video that is in the cache tells its own outcome. One that is not leaves a small record in
`.outcomes/` of its cache folder, so that a file without a face is not decoded again on every run;
it is tried again when the file changes, when the reason may pass (records.TRANSIENT_REASONS), or
when asked (`--retry`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from unmask.pipeline.cache.refused import plain_outcome
from unmask.pipeline.disk.files import json_lines, write_whole
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import ManifestError
from unmask.pipeline.records import Outcome

MAX_LINE = 2**20


@dataclass(frozen=True)
class Listed:
    """One line of outcomes.jsonl: how a video ended, and what an evaluation must know to count
    it.
    """

    outcome: Outcome
    label: int
    method: str
    split: str


def write_outcomes(path: Path, rows: Iterable[Listed]) -> None:
    """One JSON object per line, sorted by video_id; no times in it, so that equal runs give equal
    bytes.
    """
    plain = [
        {**plain_outcome(row.outcome), "label": row.label, "method": row.method, "split": row.split}
        for row in sorted(rows, key=lambda row: row.outcome.video_id)
    ]
    write_whole(path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in plain).encode())


def read_outcomes(path: Path) -> list[Listed]:
    """The list as write_outcomes left it; an absent file is an empty list (manifests made by others
    have none).

    Raises: ManifestError naming the line that is not one of ours.
    """
    rows = []
    try:
        for number, row in json_lines(path, MAX_LINE, ManifestError):
            own = {name: row.pop(name) for name in ("label", "method", "split") if name in row}
            outcome = record_of(Outcome, row, f"{path}:{number}", ManifestError)
            rows.append(
                record_of(Listed, {"outcome": outcome, **own}, f"{path}:{number}", ManifestError)
            )
    except ManifestError as error:
        raise ManifestError(f"{error}: not an outcome of extract; run extract again") from error
    return rows


def summary(name: str, outcomes: Iterable[Outcome], seconds: float) -> str:
    """One line a person can act on, e.g. `extract ffpp: 4,980 ok, 9 skipped (no_face 9), 8 failed
    (truncated 8)`.
    """
    outcomes = list(outcomes)
    parts = [f"{sum(o.status == 'ok' for o in outcomes):,} ok"]
    for status in ("skipped", "failed"):
        reasons = Counter(o.reason for o in outcomes if o.status == status)
        if reasons:
            why = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
            parts.append(f"{reasons.total():,} {status} ({why})")
    return f"extract {name}: {', '.join(parts)}, {duration(seconds)}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: 8.2 s, 31 min, 4 h 05 min."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"

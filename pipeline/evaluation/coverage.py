"""How many of a manifest's videos were scored, and why the others were not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.manifests.outcomes import Listed, read_outcomes
from unmask.pipeline.records import FAKE, REAL
from unmask.pipeline.scores.results import Coverage

# Reason of a video that an official list names and the disk does not have.
NEVER_THERE = "missing"


def coverage_of(source: ClipSource) -> Coverage:
    """Failed videos from the outcomes beside the manifest (of its split), missing ones from the
    manifest itself.
    """
    listed = source.path.parent / "outcomes.jsonl"
    splits = {str(reader.attributes.get("split") or "") for reader in source.readers}
    split = splits.pop() if len(splits) == 1 else ""
    scored = frozenset(Path(entry.folder).name for entry in source.entries)
    # An entry that is named but absent is missing; counting it as failed too would count it twice.
    named = scored | {Path(entry.folder).name for entry in source.missing}
    coverage = failed_of(read_outcomes(listed), split, named)
    fakes = sum(entry.label == FAKE for entry in source.missing)
    return replace(coverage, missing=(len(source.missing) - fakes, fakes))


def failed_of(
    outcomes: Iterable[Listed], split: str, scored: frozenset[str] = frozenset()
) -> Coverage:
    """Videos of this split that extraction refused or never saw, from the list beside the manifest.

    split: "" counts every split.
    scored: ids that are in the cache after all (a later run got them).
    """
    rows = list(outcomes)
    failed, absent, reasons = [0, 0], [0, 0], {}
    for row in rows:
        lost = row.outcome.status != "ok" and row.outcome.video_id not in scored
        if not lost or (split and row.split != split):
            continue
        if row.outcome.reason == NEVER_THERE:
            absent[row.label] += 1
        else:
            failed[row.label] += 1
            reasons[row.outcome.reason] = reasons.get(row.outcome.reason, 0) + 1
    return Coverage(
        failed=(failed[REAL], failed[FAKE]),
        reasons=dict(sorted(reasons.items())),
        known=bool(rows),
        absent=(absent[REAL], absent[FAKE]),
    )

"""Remember why a video was refused, with a fingerprint of its file, so that the next run need not
try again.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from unmask.pipeline.disk.files import read_json, refusals, write_whole
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import CacheError
from unmask.pipeline.records import REASONS, TRANSIENT_REASONS, Outcome

Fingerprint = dict[str, int]

RECORDS = ".outcomes"  # beside the groups of a cache folder
MAX_RECORD = 2**20


def remember(parent: Path, outcome: Outcome, fingerprint: Fingerprint) -> None:
    """Keep why a video is not in the cache folder `parent`, with the file's size and time as it
    was then.
    """
    record = {"fingerprint": fingerprint, "outcome": plain_outcome(outcome)}
    write_whole(
        _record(parent, outcome.video_id), json.dumps(record, sort_keys=True).encode() + b"\n"
    )


def recall(parent: Path, video_id: str, fingerprint: Fingerprint | None = None) -> Outcome | None:
    """What an earlier run found, or None where it must be tried (again).

    fingerprint: the file's present size and time; None asks for the record whatever the file is
    like now.
    """
    path = _record(parent, video_id)
    try:
        record = read_json(path, MAX_RECORD, CacheError)
        outcome = record_of(Outcome, record.get("outcome", {}), path, CacheError)
    except CacheError:
        return None  # absent or half readable: trying again is always right
    if outcome.video_id != video_id or outcome.reason not in REASONS or "fingerprint" not in record:
        return None
    if fingerprint is not None and (
        record["fingerprint"] != fingerprint or outcome.reason in TRANSIENT_REASONS
    ):
        return None
    return outcome


def forget(parent: Path, video_id: str) -> None:
    """Drop the record of a video that is in the cache now."""
    path = _record(parent, video_id)
    with refusals(path):
        path.unlink(missing_ok=True)


def _record(parent: Path, video_id: str) -> Path:
    return parent / RECORDS / f"{video_id}.json"


def plain_outcome(outcome: Outcome) -> dict[str, object]:
    fields = asdict(outcome)
    del fields["seconds"]
    return {**fields, "flags": list(outcome.flags)}

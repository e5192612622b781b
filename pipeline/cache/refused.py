"""Remember how a video ended and on what that rested, so that the next run need not try again, nor
read a whole file to see that it is still the same.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from unmask.pipeline.disk.files import read_json, write_whole
from unmask.pipeline.disk.json_records import record_of
from unmask.pipeline.errors import CacheError
from unmask.pipeline.records import REASONS, TRANSIENT_REASONS, Outcome

# What an outcome rests on, as plain JSON: see extraction/resume.py.
Fingerprint = dict[str, object]

RECORDS = ".outcomes"  # beside the groups of a cache folder
MAX_RECORD = 2**20


def remember(parent: Path, outcome: Outcome, fingerprint: Fingerprint) -> None:
    """Keep how a video of the cache folder `parent` ended, and on what that rested.

    What is in the cache speaks for itself: its record may be lost in a power cut.
    """
    record = {"fingerprint": fingerprint, "outcome": plain_outcome(outcome)}
    data = json.dumps(record, sort_keys=True).encode() + b"\n"
    path, durable = _record(parent, outcome.video_id), outcome.status != "ok"
    write_whole(path, data, durable, tidy=False)


def recall(parent: Path, video_id: str, fingerprint: Fingerprint | None = None) -> Outcome | None:
    """Why an earlier run refused a video, or None where it must be tried (again).

    fingerprint: what the outcome would rest on now; None asks for the record whatever the file is
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


def noted(parent: Path, video_id: str) -> Fingerprint | None:
    """What a video that is in the cache was made from; None where nobody noted it."""
    path = _record(parent, video_id)
    try:
        record = read_json(path, MAX_RECORD, CacheError)
        outcome = record_of(Outcome, record.get("outcome", {}), path, CacheError)
    except CacheError:
        return None
    return record.get("fingerprint") if outcome.status == "ok" else None


def recorded(parent: Path) -> list[str]:
    """Ids of the videos whose end is on record, in no order."""
    return [path.stem for path in (parent / RECORDS).glob("[!.]*.json")]


def _record(parent: Path, video_id: str) -> Path:
    return parent / RECORDS / f"{video_id}.json"


def plain_outcome(outcome: Outcome) -> dict[str, object]:
    """An outcome as JSON values; seconds are left out, so that equal runs write equal bytes."""
    fields = asdict(outcome)
    del fields["seconds"]
    return {**fields, "flags": list(outcome.flags)}

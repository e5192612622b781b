"""A release's file from its makers' server: whole and with the sha256 that is known, or not at all.

The only place of unmask that opens a connection, and only for a file that the user asked for by
name and whose licence he has accepted.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import urllib.request
from pathlib import Path

from unmask.pipeline.disk.files import write_whole
from unmask.pipeline.errors import CheckpointError, UsageError

log = logging.getLogger(__name__)

# Without a byte for so long a server is given up.
SECONDS = 30.0


def fetch_file(url: str, path: Path, sha256: str, size: int) -> None:
    """`path` becomes the file at `url`, of which size and sha256 are known.

    Raises UsageError where it cannot be had; CheckpointError where something else comes, of which
    nothing is kept; DiskError.
    """
    log.warning("fetching %s (%d bytes)", url, size)
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            data = answer.read(size + 1)  # one byte more tells a larger file
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UsageError(f"{url} could not be fetched ({reason!s:.100})") from error
    if len(data) < size:
        raise UsageError(f"{url} ended after {len(data)} of {size} bytes")
    if len(data) > size or hashlib.sha256(data).hexdigest() != sha256:
        raise CheckpointError(f"{url}: answers with another file than the one that is known")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)

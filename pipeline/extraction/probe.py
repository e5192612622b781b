"""Open every file of a dataset in worker processes, to say which of them cannot be decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from unmask.pipeline.config import ExtractConfig, Limits
from unmask.pipeline.errors import VideoError
from unmask.pipeline.records import Video
from unmask.pipeline.sources.audit import Probe, Report
from unmask.pipeline.sources.dataset import Dataset

# What worker processes of extraction load before their first video, named and not imported: this
# process needs none of it to probe.
NEEDED = ("unmask.pipeline.extraction.crops",)


def probe(
    dataset: Dataset, report: Report, progress: Callable[[], None] = lambda: None, jobs: int = -1
) -> None:
    """Open every file, without decoding a whole one, and add what it is to the report; failures are
    faults.

    progress: called once per video.
    jobs: worker processes, as of extract; a decoder that crashes or hangs takes its own worker with
        it and nothing else.
    """
    # joblib and PyAV start with their import; `datasets` without --probe never needs them
    from unmask.pipeline.machine.isolation import Crash, in_order

    for video, result in zip(
        dataset.videos,
        in_order(_probe, dataset.videos, ExtractConfig(jobs=jobs), NEEDED),
        strict=True,
    ):
        crashed = isinstance(result, Crash)
        report.probes.append(
            Probe(video.key, reason=result.reason, detail=result.detail) if crashed else result
        )
        progress()
    reasons = Counter(result.reason for result in report.probes if result.reason)
    if reasons:
        words = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        report.faults.append(f"videos that cannot be used: {sum(reasons.values())} ({words})")


def _probe(video: Video) -> Probe:
    from unmask.pipeline.decode.scan import (
        scan,
    )  # brings in FFmpeg, which verifying without probing never needs

    try:
        info = scan(video.path, Limits())
    except VideoError as error:
        return Probe(video.key, reason=error.reason, detail=error.detail)
    return Probe(
        video.key,
        info.codec,
        info.pixel_format,
        info.width,
        info.height,
        info.fps,
        info.frames,
        info.flags,
    )

"""What a training manifest says of itself, for run.json: on whom the run was trained and how their
crops look.
"""

from __future__ import annotations

import numpy as np

from unmask.pipeline.clips.looks import NOTICED, looks_of_videos
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.records import DRAWN, FAKE
from unmask.pipeline.runs.knowledge import Knowledge, Spread


def knowledge_of(source: ClipSource, validation: ClipSource | None = None) -> Knowledge:
    """Counts, words and spreads of the videos of a manifest, and what chose its best epoch.

    Raises CacheError of a clip that cannot be read.
    """
    readers, labels = source.readers, source.labels.tolist()
    if real_only := source.fakes == "self":  # every video stands there a second time, as its fake
        readers, labels = readers[::2], labels[::2]
    attributes = [reader.attributes for reader in readers]
    # with several persons of a video in the cache, it still counts once
    videos = {
        (a.get("dataset"), a.get("key"), label) for a, label in zip(attributes, labels, strict=True)
    }
    fakes = sum(label == FAKE for *_, label in videos)
    datasets = _words(attributes, "dataset")
    looks = looks_of_videos(readers)  # (V, K)
    quartiles = np.percentile(looks, (25, 50, 75), axis=0).T  # (K, 3)
    return Knowledge(
        known=True,
        real_only=real_only,
        chosen_on_fakes=real_only and validation is not None and validation.fakes == "manifest",
        drawn=DRAWN in datasets,
        real=len(videos) - fakes,
        fake=fakes,
        people=_people(attributes),
        datasets=datasets,
        compressions=_words(attributes, "compression"),
        methods=_words(attributes, "method"),
        looks={
            name: Spread(*three)
            for name, three in zip(NOTICED, quartiles.round(4).tolist(), strict=True)
        },
    )


def _words(attributes: list[dict[str, object]], name: str) -> tuple[str, ...]:
    return tuple(sorted({str(a[name]) for a in attributes if a.get(name) not in (None, "")}))


def _people(attributes: list[dict[str, object]]) -> int | None:
    """Different persons seen or put in, per dataset; None when some video names nobody."""
    if not all(a.get("target") for a in attributes):
        return None
    return len(
        {
            (a.get("dataset"), a[role])
            for a in attributes
            for role in ("target", "source")
            if a.get(role)
        }
    )

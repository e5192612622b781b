"""WildDeepfake: 224 px face pictures in folders, one per sequence; label and split come from the
category folder.
"""

from __future__ import annotations

import re
from pathlib import Path

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Expected, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds, carve_val
from unmask.pipeline.sources.listing import list_media, nested_root, subfolders

CATEGORIES = {
    f"{word}_{split}": (label, split)
    for word, label in (("real", REAL), ("fake", FAKE))
    for split in ("train", "test")
}
SPELLINGS = [name.replace("_", mark) for name in CATEGORIES for mark in "_ -"]


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every folder of pictures below real_train, real_test, fake_train and fake_test; val is cut
    from train by shard.

    Raises: UsageError when the archives are still packed.
    """
    root = nested_root(root, SPELLINGS)
    finds = Finds("wilddeepfake", root, options)
    archives = 0
    for folder in subfolders(root):
        category = re.sub(r"[ -]", "_", folder.casefold())
        if category in CATEGORIES:
            listing = list_media(root, folder)
            packed = [
                path for path, _ in listing.ignored if path.endswith((".tar.gz", ".tgz", ".tar"))
            ]
            archives += len(packed)
            finds.ignored += [item for item in listing.ignored if item[0] not in set(packed)]
            for relative in listing.folders:
                finds.add(_record(finds, category, relative))
    if archives and not finds.videos:
        raise UsageError(
            f"wilddeepfake: {archives} archives are still packed; unpack each beside itself (tar "
            "-xf)"
        )
    if archives:
        finds.notes.append(
            f"{archives} archives lie beside the folders; any not unpacked are not read"
        )
    if options.split_ratio is None:
        carve_val(finds)
    finds.notes.append(
        "sequences of one video may be in train and test: the owners publish no video ids"
    )
    finds.expected = [
        Expected(count, label, split=split)
        for (label, split), count in {(REAL, "test"): 396, (FAKE, "test"): 410}.items()
    ]
    return finds.dataset()


def _record(finds: Finds, category: str, relative: str) -> Video:
    """`<category>/<shard>/<real|fake>/<sequence>`, whatever further folders unpacking added in
    front.
    """
    label, split = CATEGORIES[category]
    parts = [part for part in relative.split("/")[1:] if part.casefold() not in ("real", "fake")]
    shard, sequence = parts[-2] if len(parts) > 1 else "0", parts[-1] if parts else "0"
    derived = finds.options.split_ratio is not None
    return Video(
        dataset=finds.name,
        key=f"{category}_{shard}_{sequence}",
        video_id="",
        path=finds.root / relative,
        label=label,
        method="wild" if label == FAKE else "real",
        split="none" if derived else split,
        split_origin="derived" if derived else "official",
        group=f"{category}_{shard}",
        video_fake=label == FAKE,
    )


SOURCE = Source(
    name="wilddeepfake",
    title="WildDeepfake",
    kind="picture folders (224 px face crops)",
    size="3,805 real and 3,509 fake sequences of 707 videos",
    access="form, then Hugging Face xingjunm/WildDeepfake",
    licence="research",
    tasks="detection in the wild",
    tree="""\
<root>/
  {real_train,real_test,fake_train,fake_test}/<shard>/{real,fake}/<sequence>/<frame number>.png
Unpack the archives first; several are plain tar although named .tar.gz.""",
    labels="by category folder only",
    splits="official train and test; val is cut from train by shard",
    discover=discover,
    aliases=("wdf", "deepfakeinthewild"),
)

"""A dataset in twenty lines: `box/<person>/r*.mp4` are real, `f*.mp4` fake."""

from pathlib import Path

from unmask.pipeline.records import FAKE, REAL, Video
from unmask.pipeline.sources.dataset import Dataset, Source, SourceOptions
from unmask.pipeline.sources.finds import Finds


def discover(root: Path, options: SourceOptions) -> Dataset:
    """Every film in the box; one person's films never lie in two splits."""
    finds = Finds("clipbox", root, options)
    for path in root.glob("box/*/*.mp4"):
        fake = path.name.startswith("f")
        finds.add(
            Video(
                dataset="clipbox",
                key=str(path.relative_to(root)),
                video_id="",
                path=path,
                label=FAKE if fake else REAL,
                method="paste" if fake else "real",
                group=path.parent.name,
            )
        )
    return finds.dataset()


SOURCE = Source(
    name="clipbox",
    title="Clip box",
    kind="films of a few people",
    size="small",
    access="free",
    licence="none",
    tasks="detection",
    tree="box/<person>/{r,f}*.mp4",
    labels="by the first letter",
    splits="derived by person",
    discover=discover,
    aliases=("box-of-clips",),
)

"""A receipt proves that two caches hold the same pixels, and finds the frame that differs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from unmask.commands.main import main
from unmask.pipeline.cache.video import open_video
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.errors import ManifestError, UsageError
from unmask.pipeline.extraction import run
from unmask.pipeline.extraction.receipt import materialize, read_receipt, receipt_of
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import Entry
from unmask.pipeline.sources.dataset import SourceOptions
from unmask.pipeline.sources.registry import discover

CROP = CropConfig(clips=2, frames=2, size=64)


def cut(videos, root: Path, jobs: int, dataset: str = "ffpp") -> tuple[Path, Path]:
    """Cache and manifest of these videos."""
    config = ExtractConfig(crop=CROP, jobs=jobs)
    ended = run.extract(videos, config, root / "cache")
    assert all(outcome.status == "ok" for outcome in ended)
    parent = run.cache_folder(root / "cache", dataset, CROP)
    names = [f"{dataset}/{parent.name}/{video.video_id}" for video in videos]
    entries = [Entry(name, video.label) for name, video in zip(names, videos, strict=True)]
    write_manifest(root / "m.txt", entries)
    return root / "cache", root / "m.txt"


@pytest.fixture(scope="module")
def world(drawn: Path, tmp_path_factory: pytest.TempPathFactory):
    """Two reals and one fake, their cache, and the receipt's bytes."""
    found = discover("ffpp", drawn, SourceOptions(methods=("Deepfakes",)))
    reals = [video for video in found.videos if video.label == 0][:2]
    videos = [*reals, next(video for video in found.videos if video.label == 1)]
    videos = [replace(video, mask=None) for video in videos]
    root = tmp_path_factory.mktemp("first")
    cache, manifest = cut(videos, root, jobs=1)
    return videos, cache, manifest, receipt_of(read_manifest(manifest, cache))


def test_two_caches_made_with_other_jobs_have_the_same_receipt(world, tmp_path: Path) -> None:
    videos, cache, manifest, data = world
    again, lines = cut(videos[::-1], tmp_path, jobs=2)
    assert receipt_of(read_manifest(lines, again)) == data
    head, *rows = map(json.loads, data.splitlines())
    assert head["settings"]["size"] == 64 and len(rows) == 3
    assert not any(str(video.path.parent).encode() in data for video in videos), "no path"
    first = open_video(read_manifest(manifest, cache).folders[0])
    row = next(row for row in rows if row["name"] == first.folder.name)
    assert row["source"] == first.source_sha256 and row["index"] == first.frame_numbers.tolist()
    assert np.allclose(row["box"], first.boxes) and len(row["crops"]) == 2


def test_crops_are_cut_again_from_files_of_other_names_and_compared(world, tmp_path: Path) -> None:
    videos, _, _, data = world
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    for number, video in enumerate(videos[:2]):
        shutil.copy(video.path, tmp_path / "mine" / "deep" / f"copy {number}.mp4")
    rows = [json.loads(line) for line in data.splitlines()]
    altered = next(row for row in rows[1:] if row["name"] == videos[0].video_id)
    altered["crops"][1] = altered["crops"][0]
    receipt = tmp_path / "r.jsonl"
    receipt.write_text("".join(json.dumps(row) + "\n" for row in rows))
    head, read = read_receipt(receipt)
    found, notes = materialize(head, read, tmp_path / "mine", tmp_path / "cache", jobs=1)
    by_name = {one.name: one for one in found}
    assert notes == []
    assert by_name[videos[0].video_id].equal == (0,)
    assert by_name[videos[0].video_id].different == (1,), "the altered frame is found"
    assert by_name[videos[1].video_id].equal == (0, 1)
    assert by_name[videos[2].video_id].reason == "no file of these bytes"


def rewrite(source: Path, target: Path, altered: int) -> None:
    """The same pixels in another file, but for a patch of one frame."""
    with av.open(str(source)) as container:
        frames = list(container.decode(video=0))
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
        for number, frame in enumerate(frames):
            planes = frame.to_ndarray(format="yuv420p")
            if number == altered:
                height, width = frames[0].height, frames[0].width
                middle = planes[height // 3 : height // 2, width // 3 : 2 * width // 3]
                middle[:] = np.clip(middle.astype(int) + 12, 0, 235)
            again = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            again.colorspace, again.color_range = frame.colorspace, frame.color_range
            container.mux(stream.encode(again))
        container.mux(stream.encode())


def test_one_altered_frame_of_another_file_is_exactly_one_different_clip(
    world, tmp_path: Path
) -> None:
    videos, cache, manifest, data = world
    first = open_video(read_manifest(manifest, cache).folders[0])
    name = videos[0].path.name
    # Not the frame in which the face is looked for, so that the clip is cut at the same place.
    altered = int(first.frame_numbers[1, 0])
    for folder, number in (("same", -1), ("altered", altered)):
        where = tmp_path / folder / "youtube"
        where.mkdir(parents=True)
        rewrite(videos[0].path, where / name, number)
        receipt = tmp_path / "r.jsonl"
        receipt.write_bytes(data)
        head, rows = read_receipt(receipt)
        cut_again = materialize(head, rows, where.parent, tmp_path / f"c-{folder}", jobs=1)
        one = {found.name: found for found in cut_again[0]}[first.folder.name]
        assert one.reason == "its file has other bytes than the receipt's"
        assert any("1 videos were found by their names" in note for note in cut_again[1])
        expected = ((0, 1), ()) if number < 0 else ((0,), (1,))
        assert (one.equal, one.different) == expected, folder


def test_the_commands_write_and_compare(world, tmp_path: Path, capsys) -> None:
    videos, cache, manifest, data = world
    out = tmp_path / "r.jsonl"
    assert (
        main(["manifest", "receipt", str(manifest), "--cache", str(cache), "--out", str(out)]) == 0
    )
    assert out.read_bytes() == data
    words = ["manifest", "materialize", "--receipt", str(out), "--root", str(tmp_path / "none")]
    assert main([*words, "--cache", str(tmp_path / "c")]) == 2
    (tmp_path / "mine").mkdir()
    for video in videos:
        shutil.copy(video.path, tmp_path / "mine" / f"{video.video_id}.mp4")
    words[-1] = str(tmp_path / "mine")
    assert main([*words, "--cache", str(tmp_path / "c"), "--jobs", "1"]) == 0
    assert "3 videos: 6 clips equal, 0 different" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../../etc"}, "no safe names"),
        ({"crops": [1]}, "crops"),
        ({"video": {"video_id": "x", "dataset": "other"}}, "another data set"),
        ({"colour": 1}, "does not know"),
    ],
)
def test_a_forged_receipt_is_refused(world, tmp_path: Path, change, message: str) -> None:
    head, row, *_ = map(json.loads, world[3].splitlines())
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(head) + "\n" + json.dumps({**row, **change}) + "\n")
    with pytest.raises(ManifestError, match=message):
        read_receipt(path)
    (tmp_path / "empty").write_text("")
    with pytest.raises(ManifestError, match="no receipt"):
        read_receipt(tmp_path / "empty")


def test_pictures_have_no_receipt(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.png").write_bytes(b"x")
    write_manifest(tmp_path / "m.txt", [Entry("a", 0)])
    with pytest.raises(UsageError, match="no cached videos"):
        receipt_of(read_manifest(tmp_path / "m.txt", tmp_path / "cache"))

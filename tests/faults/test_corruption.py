"""Whatever happens to a file of the cache, `verify` names its video, training never sees it,
`--repair` redoes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.faults.forks import CONFIG, groups, hashes, in_this_process, walk
from tests.pipeline.cache.test_damage import damages
from tests.support.small_videos import files_of
from unmask.commands import main as cli
from unmask.models.spec import ClipSpec
from unmask.pipeline.clips.batches import batches
from unmask.pipeline.clips.source import ClipSource
from unmask.pipeline.errors import CacheError, ManifestError
from unmask.pipeline.extraction import dispatch, run
from unmask.pipeline.sources.dataset import Dataset, SourceOptions
from unmask.pipeline.sources.registry import discover

SPEC = ClipSpec("consecutive", 2, size=48)


@pytest.fixture(scope="module")
def road(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, Path]:
    """Three extracted videos: their dataset and work folder; tests put back what they damage."""
    found = discover("ffpp", drawn, SourceOptions(methods=("Deepfakes",)))
    dataset, work = Dataset("ffpp", found.root, found.videos[:3]), tmp_path_factory.mktemp("road")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "dispatch", in_this_process)
        walk(dataset, work)
    return dataset, work


def folders(work: Path) -> list[Path]:
    parent = run.cache_folder(work / "cache", "ffpp", CONFIG.crop)
    return [parent / name for name in sorted(groups(work))]


def read_all(work: Path) -> dict[str, np.ndarray]:
    """What training would see of every manifest. Raises CacheError or ManifestError."""
    seen = {}
    for path in sorted((work / "manifests").rglob("*.txt")):
        source = ClipSource(path, work / "cache", SPEC)
        samples = source.evaluation_samples()
        for raw in batches(source, [samples]):
            for sample, pixels in zip(raw.samples, raw.pixels.numpy().copy(), strict=True):
                seen[f"{source.entries[sample.video].folder} {sample.picks}"] = pixels
    return seen


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_every_damage_to_every_file_is_seen_by_verify_and_never_by_training(
    every: int,
    road: tuple[Dataset, Path],
    capsys: pytest.CaptureFixture[str],
    figure: Callable[[str, str], None],
) -> None:
    _, work = road
    truth, folder = read_all(work), folders(work)[1]
    assert len(truth) >= 4 and all(clip.std() > 10 for clip in truth.values())
    tried = found = refused = 0
    for number, (name, data) in enumerate(files_of(folder).items()):
        for what, changed in damages(data, number)[number % every :: every]:
            path = folder / name
            path.unlink() if changed is None else path.write_bytes(changed)
            tried += 1
            code = cli.main(["verify", "--cache", str(work / "cache")])
            said = capsys.readouterr().out
            found += code == 4 and f"{folder}: " in said and "2 whole, 1 damaged" in said
            try:
                seen = read_all(work)
            except (CacheError, ManifestError) as error:
                assert folder.name in str(error), f"{name} {what}: the video is not named"
                refused += 1
            else:
                assert seen.keys() == truth.keys()
                for clip in truth:
                    np.testing.assert_array_equal(seen[clip], truth[clip], err_msg=f"{name} {what}")
            path.write_bytes(data)
    figure(
        "damaged cache",
        f"{tried} damages: verify names {found}, training refuses {refused}, reads 0 wrong",
    )
    assert found == tried
    # the others are in bytes that training does not read (bands), or that zstd ignores
    crops = [name for name in files_of(folder) if not name.startswith("bands")]
    assert refused >= 0.98 * tried * len(crops) / len(files_of(folder))


@pytest.mark.parametrize(
    "harm", ["flip", "cut", "empty", "delete a shard", "delete the digest", "delete all"]
)
def test_repair_makes_exactly_the_damaged_videos_again(
    harm: str,
    road: tuple[Dataset, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, work = road
    monkeypatch.setattr(dispatch, "dispatch", in_this_process)
    truth, times, doomed = hashes(work), groups(work), folders(work)[0]
    shard = doomed / "crops" / "c.0.0.0.0.0"
    data = bytearray(shard.read_bytes())
    if harm == "flip":
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
    elif harm in ("cut", "empty"):
        shard.write_bytes(data[: 1000 if harm == "cut" else 0])
    for path in {"delete a shard": [shard], "delete the digest": [doomed / "digest.json"]}.get(
        harm, []
    ):
        path.unlink()
    if harm == "delete all":
        for path in [p for p in doomed.rglob("*") if p.is_file()]:
            path.unlink()
    assert cli.main(["verify", "--cache", str(work / "cache"), "--repair"]) == 0
    assert "1 made again, 0 could not be" in capsys.readouterr().out
    assert hashes(work) == truth
    assert {name for name, time in groups(work).items() if times[name] != time} == {doomed.name}
    assert cli.main(["verify", "--cache", str(work / "cache")]) == 0


@pytest.mark.parametrize("harm", ["flip", "cut", "delete"])
def test_the_next_extract_makes_a_video_with_missing_parts_again(
    harm: str, road: tuple[Dataset, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metadata and sizes are looked at on every run; all bytes only by verify."""
    dataset, work = road
    monkeypatch.setattr(dispatch, "dispatch", in_this_process)
    truth, path = (
        hashes(work),
        folders(work)[2] / ("zarr.json" if harm == "flip" else "crops/c.0.0.0.0.0"),
    )
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.unlink() if harm == "delete" else path.write_bytes(data if harm == "flip" else data[:-1])
    walk(dataset, work)
    assert hashes(work) == truth


def test_a_dry_run_removes_nothing(
    road: tuple[Dataset, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, work = road
    digest = folders(work)[2] / "digest.json"
    data = digest.read_bytes()
    digest.write_bytes(b"")
    before = hashes(work)
    words = [
        "--methods",
        "Deepfakes",
        "--clips",
        "2",
        "--frames",
        "2",
        "--size",
        "48",
        "--limit",
        "3",
        "--dry-run",
    ]
    places = [
        "--root",
        str(dataset.root),
        "--cache",
        str(work / "cache"),
        "--manifests",
        str(work / "manifests"),
    ]
    assert cli.main(["extract", "--dataset", "ffpp", *words, *places]) == 0
    assert hashes(work) == before
    digest.write_bytes(data)


def test_what_cannot_be_made_again_is_kept_and_said(
    road: tuple[Dataset, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    dataset, _ = road
    monkeypatch.setattr(dispatch, "dispatch", in_this_process)
    copy = tmp_path / "only.mp4"
    copy.write_bytes(dataset.videos[0].path.read_bytes())
    walk(replace(dataset, videos=(replace(dataset.videos[0], path=copy),)), tmp_path)
    copy.unlink()
    (folder,) = folders(tmp_path)
    (folder / "crops" / "zarr.json").write_bytes(b"{}")
    before = groups_of(hashes(tmp_path / "cache" / "ffpp"))
    assert cli.main(["verify", "--cache", str(tmp_path / "cache"), "--repair"]) == 3
    assert "missing" in capsys.readouterr().out
    assert groups_of(hashes(tmp_path / "cache" / "ffpp")) == before


def groups_of(digests: dict[str, str]) -> dict[str, str]:
    """Without the notes on how each video ended, which a repair renews."""
    return {name: digest for name, digest in digests.items() if "/.outcomes/" not in name}


def test_a_foreign_folder_with_a_videos_name_is_never_touched(
    road: tuple[Dataset, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dataset, _ = road
    monkeypatch.setattr(dispatch, "dispatch", in_this_process)
    parent = run.cache_folder(tmp_path, "ffpp", CONFIG.crop)
    notes = parent / dataset.videos[0].video_id / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    (parent / ".tmp-mine").write_text("not of our pattern")
    with pytest.raises(CacheError, match=r"notes\.txt"):
        run.extract(dataset.videos, CONFIG, tmp_path)
    assert notes.read_text() == "mine" and (parent / ".tmp-mine").exists()

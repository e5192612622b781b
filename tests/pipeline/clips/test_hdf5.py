"""An export holds what the manifest's cache holds, in its order, opens in plain h5py, and refuses
when damaged.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.support.small_videos import commit, pictures
from unmask.pipeline.cache.bands import coefficients
from unmask.pipeline.cache.digest import canonical
from unmask.pipeline.cache.video import open_video
from unmask.pipeline.cache.zarr_layout import ARRAYS
from unmask.pipeline.clips import hdf5_writer
from unmask.pipeline.clips.hdf5 import is_export, open_export
from unmask.pipeline.clips.hdf5_writer import write_export
from unmask.pipeline.errors import CacheError, UsageError
from unmask.pipeline.manifests.checked import Manifest, read_manifest
from unmask.pipeline.manifests.text import write_manifest
from unmask.pipeline.records import Entry

STRANGE = os.fsdecode(b"caf\xe9.mp4")


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Four videos of unequal length, in no alphabetical order; one has masks, all have bands."""
    parent = tmp_path / "cache" / "ffpp" / "16x5-32px-0123456789ab"
    entries = []
    for number, name in enumerate(("d", "a", "c", "b")):
        pixels = pictures(number, clips=2 + number % 3)
        masks = pixels[..., 0].copy() if name == "c" else None
        attributes = {"label": number % 2, "key": name, "source": {"path": STRANGE}}
        commit(parent, name, pixels, bands=coefficients(pixels), masks=masks, attributes=attributes)
        entries.append(Entry(f"ffpp/{parent.name}/{name}", number % 2))
    write_manifest(tmp_path / "train.txt", entries)
    return read_manifest(tmp_path / "train.txt", tmp_path / "cache")


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_it_gives_the_samples_of_the_cache_in_the_manifests_order(
    tmp_path: Path, manifest, compression: str
) -> None:
    done = write_export(tmp_path / "x.h5", manifest, compression=compression)
    assert (done.videos, done.clips, done.arrays) == (4, 11, ("crops", "bands", "masks"))
    assert done.size == (tmp_path / "x.h5").stat().st_size
    export = open_export(tmp_path / "x.h5")
    assert [(e.folder, e.label) for e in export.entries] == [
        (e.folder, e.label) for e in manifest.entries
    ]
    assert (export.sha256, export.key, len(export)) == (manifest.sha256, manifest.key, 4)
    for video, folder in zip(export.videos, manifest.folders, strict=True):
        cached = open_video(folder)
        assert (video.shape, video.arrays, video.attributes) == (
            cached.shape,
            cached.arrays,
            cached.attributes,
        )
        clips = [video.clips - 1, 0]
        np.testing.assert_array_equal(video.read_crops(clips), cached.read_crops(clips))
        np.testing.assert_array_equal(video.read_bands(clips), cached.read_bands(clips))
        if "masks" in cached.arrays:
            np.testing.assert_array_equal(video.read_masks(clips), cached.read_masks(clips))
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: export.videos[1].read_crops([2])[0], range(40)):
            np.testing.assert_array_equal(got, pictures(1, clips=3)[2])


def test_plain_h5py_reads_it(tmp_path: Path, manifest) -> None:
    write_export(tmp_path / "x.h5", manifest)
    whole = np.concatenate(
        [open_video(f).read_crops(range(open_video(f).clips)) for f in manifest.folders]
    )
    with h5py.File(tmp_path / "x.h5") as file:
        np.testing.assert_array_equal(file["crops"][:], whole)
        assert file["video/label"][:].tolist() == [0, 1, 0, 1]
        assert file["video/clips"][:].tolist() == [2, 3, 4, 2]
        assert file["video/first_crops"][:].tolist() == [0, 2, 5, 9]
        assert file["video/first_masks"][:].tolist() == [-1, -1, 0, -1]
        assert file["video/folder"].asstr()[:].tolist() == [e.folder for e in manifest.entries]
        assert file["index"].shape == file["pts"].shape == (11, 2)
        np.testing.assert_array_equal(
            file["pts"][2:5], open_video(manifest.folders[1]).attributes["pts"]
        )


def test_bands_can_stay_behind(tmp_path: Path, manifest) -> None:
    assert write_export(tmp_path / "x.h5", manifest, bands=False).arrays == ("crops", "masks")
    with pytest.raises(CacheError, match="no bands"):
        open_export(tmp_path / "x.h5").videos[0].read_bands([0])
    with pytest.raises(CacheError, match="no masks"):
        open_export(tmp_path / "x.h5").videos[0].read_masks([0])


def test_equal_manifests_give_equal_files_and_progress_tells_each_video(
    tmp_path: Path, manifest
) -> None:
    told = []
    write_export(tmp_path / "one.h5", manifest, progress=told.append)
    write_export(tmp_path / "two.h5", manifest)
    assert told == list(manifest.entries)
    digests = {
        hashlib.sha256((tmp_path / f"{name}.h5").read_bytes()).hexdigest()
        for name in ("one", "two")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_damaged_file_is_refused_and_never_read_wrongly(
    tmp_path: Path, manifest, compression: str
) -> None:
    path = tmp_path / "x.h5"
    write_export(path, manifest, compression=compression)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    harmed = [bytes(data[:cut]) for cut in np.linspace(0, len(data) - 1, 10).astype(int)]
    for spot in (0, 8, 9, *rng.integers(0, len(data), 150).tolist()):
        flipped = bytearray(data)
        flipped[spot] ^= 1 << int(rng.integers(8))
        harmed.append(bytes(flipped))
    refused = 0
    for bad in harmed:
        path.write_bytes(bad)
        try:
            export = open_export(path)
            for video, folder in zip(export.videos, manifest.folders, strict=True):
                cached, clips = open_video(folder), range(video.clips)
                np.testing.assert_array_equal(video.read_crops(clips), cached.read_crops(clips))
                np.testing.assert_array_equal(video.read_bands(clips), cached.read_bands(clips))
                assert video.attributes == cached.attributes
        except CacheError as error:
            assert "x.h5" in str(error)
            refused += 1
    # The rest hit bytes that HDF5 does not use, or masks, which were not read here.
    assert refused > 0.8 * len(harmed)


def test_damage_after_opening_is_seen_when_reading(tmp_path: Path, manifest) -> None:
    for harm in ("cut", "zeroed", "deleted"):
        path = tmp_path / f"{harm}.h5"
        write_export(path, manifest, compression="none")
        video = open_export(path).videos[0]
        size = path.stat().st_size
        if harm == "deleted":
            path.unlink()
        else:
            path.write_bytes(b"" if harm == "cut" else bytes(size))
        with pytest.raises(CacheError, match=harm):
            video.read_crops([0])


def test_a_file_that_is_no_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("ffpp/a 1\n")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["crops"] = np.zeros(3)
    for name in ("text.h5", "other.h5", "absent.h5"):
        with pytest.raises(CacheError, match=name):
            open_export(tmp_path / name)
    assert [is_export(tmp_path / name) for name in ("text.h5", "other.h5", "absent.h5")] == [
        False,
        True,
        False,
    ]


def test_only_an_older_export_is_replaced(tmp_path: Path, manifest) -> None:
    (tmp_path / "notes.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        write_export(tmp_path / "notes.txt", manifest)
    assert (tmp_path / "notes.txt").read_text() == "precious"
    write_export(tmp_path / "x.h5", manifest, bands=False)
    write_export(tmp_path / "x.h5", manifest)
    assert open_export(tmp_path / "x.h5").videos[0].arrays == ("crops", "bands")


def test_a_damaged_video_or_a_full_disk_leaves_no_file(
    tmp_path: Path, manifest, monkeypatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "out").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(CacheError, match=r"No space left.*MiB"):
            write_export(tmp_path / "out" / "x.h5", manifest)
    shard = manifest.folders[2] / "crops" / "c.0.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 255
    shard.write_bytes(data)
    with pytest.raises(CacheError, match="/c: "):
        write_export(tmp_path / "out" / "x.h5", manifest)
    assert list((tmp_path / "out").iterdir()) == []


def test_videos_of_unequal_crops_are_refused(tmp_path: Path, manifest) -> None:
    other = commit(tmp_path / "elsewhere", "small", pictures(side=16))
    mixed = Manifest(
        manifest.path,
        (*manifest.entries, Entry("x", 1)),
        (*manifest.folders, other),
        manifest.sha256,
        manifest.key,
    )
    with pytest.raises(CacheError, match="differ in shape"):
        write_export(tmp_path / "x.h5", mixed)
    assert not (tmp_path / "x.h5").exists()


SMALL_DISKS = """
import resource, sys
from pathlib import Path
from unmask.pipeline.clips.hdf5_writer import write_export
from unmask.pipeline.errors import CacheError
from unmask.pipeline.manifests.checked import read_manifest

root, compression = Path(sys.argv[1]), sys.argv[2]
manifest = read_manifest(root / "train.txt", root / "cache")
for limit in map(int, sys.argv[3:]):
    # as a disk that is full from there on
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_export(root / "out" / "x.h5", manifest, compression=compression)
    except CacheError as error:
        print(limit, error, flush=True)
"""


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_disk_that_fills_up_is_one_line_and_leaves_no_file(
    tmp_path: Path, manifest, compression: str
) -> None:
    size = write_export(tmp_path / "whole.h5", manifest, compression=compression).size
    early = [0, 1, 48, 100, 700, *range(1024, 16384, 1024)]
    rooms = [room for room in early if room < size] + [size * k // 20 for k in range(3, 20)]
    done = subprocess.run(
        [sys.executable, "-c", SMALL_DISKS, str(tmp_path), compression, *map(str, rooms)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-300:]  # nor a crash at exit
    lines = done.stdout.splitlines()
    assert [int(line.split()[0]) for line in lines] == rooms
    for line in lines:
        assert "x.h5: not written" in line and "File too large" in line
        assert "MiB are needed" in line and "are free" in line
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("seed", range(20))
def test_hdf5_reads_back_what_found_no_room(tmp_path: Path, monkeypatch, seed: int) -> None:
    """Else it takes whatever lay in memory for its own tables, and dies."""
    rng, write = np.random.default_rng(seed), os.pwrite
    room = int(rng.integers(0, 3000))

    def narrow(descriptor: int, data: memoryview, place: int) -> int:
        if place >= room:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[: room - place], place)

    monkeypatch.setattr(os, "pwrite", narrow)
    model = io.BytesIO()
    with open(tmp_path / "x", "wb+", buffering=0) as raw:
        sink = hdf5_writer._Sink(raw)
        for _ in range(200):
            place, size = (int(number) for number in rng.integers(1, 2000, 2))
            assert sink.seek(place) == model.seek(place)
            if rng.random() < 0.5:
                data = rng.bytes(size)
                assert sink.write(memoryview(data)) == model.write(data)
            else:
                assert sink.read(size) == model.read(size)
            assert sink.seek(0, io.SEEK_END) == model.seek(0, io.SEEK_END)
    if len(model.getvalue()) > room:
        with pytest.raises(OSError, match="No space left"):
            sink.check()


def forged(path: Path, change) -> Path:
    """An export changed by `change(file)`, its sums made right again."""
    with h5py.File(path, "r+") as file:
        change(file)
        names = [name for name in ARRAYS if name in file]
        keys = ["folder", "label", "clips", "attributes", *(f"first_{name}" for name in names)]
        places = [*(f"video/{key}" for key in keys), *(f"crc32c/{name}" for name in names)]
        document = {
            place: (file[place].asstr() if file[place].dtype == object else file[place])[
                ...
            ].tolist()
            for place in [*places, "index", "pts"]
        }
        values = [1, str(file.attrs["key"]), str(file.attrs["manifest_sha256"]), document]
        file.attrs["digest"] = hashlib.sha256(canonical(values).encode()).hexdigest()
    return path


def replace(file: h5py.File, name: str, value: object) -> None:
    kind = h5py.string_dtype() if isinstance(value[0], str) else None
    del file[name]
    file.create_dataset(name, data=np.asarray(value, dtype=kind or "<i8"), dtype=kind)


@pytest.mark.parametrize(
    "change, why",
    [
        (lambda file: replace(file, "video/label", [0, 1, 0, 7]), "not whole"),
        (lambda file: replace(file, "video/clips", [2, 3, 4, 0]), "not whole"),
        (lambda file: replace(file, "video/first_crops", [0, 2, 5, 90]), "not whole"),
        (lambda file: replace(file, "video/first_crops", [0, 2, 5, -1]), "not whole"),
        (lambda file: replace(file, "video/attributes", ["[]"] * 4), "not an object"),
        (lambda file: replace(file, "video/attributes", ["[" * 9999] * 4), "not JSON"),
    ],
)
def test_a_forged_row_with_right_sums_is_refused(tmp_path: Path, manifest, change, why) -> None:
    write_export(tmp_path / "x.h5", manifest)
    forged(tmp_path / "x.h5", change)
    with pytest.raises(CacheError, match=f"x.h5: .*{why}"):
        [video.attributes for video in open_export(tmp_path / "x.h5").videos]


def test_an_export_that_points_into_other_files_is_refused(tmp_path: Path, manifest) -> None:
    write_export(tmp_path / "other.h5", manifest)
    for name in ("crops", "video/folder", "video"):
        write_export(tmp_path / "x.h5", manifest)
        with h5py.File(tmp_path / "x.h5", "r+") as file:
            del file[name]
            file[name] = h5py.ExternalLink("other.h5", f"/{name}")
        with pytest.raises(CacheError, match="is a link, not data"):
            open_export(tmp_path / "x.h5")


def test_a_column_that_states_a_giant_is_not_read(tmp_path: Path, manifest) -> None:
    write_export(tmp_path / "x.h5", manifest)
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["video/label"]
        file.create_dataset("video/label", (10**12,), "<i8", chunks=(1000,))
    with pytest.raises(CacheError, match="larger than the file"):
        open_export(tmp_path / "x.h5")


def test_a_fifo_is_no_export_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.h5")
    assert not is_export(tmp_path / "x.h5")

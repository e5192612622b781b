"""No damage to a cached video goes unnoticed: verify finds all of it, and the reader never gives a
wrong picture.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.small_videos import commit, files_of, pictures
from unmask.pipeline.cache.bands import coefficients
from unmask.pipeline.cache.codecs import CODECS
from unmask.pipeline.cache.video import is_committed, open_video, verify_video
from unmask.pipeline.disk.folders import remove_folder
from unmask.pipeline.errors import CacheError

FLIPS, CUTS = 20, 10


def damages(data: bytes, seed: int) -> list[tuple[str, bytes | None]]:
    """(what, the file's new bytes or None for deleted): 20 flips, 10 cuts, emptied, deleted,
    longer.
    """
    rng = np.random.default_rng(seed)
    spots = {
        0,
        len(data) - 1,
        *rng.choice(len(data), FLIPS - 2, replace=len(data) < FLIPS).tolist(),
    }
    found: list[tuple[str, bytes | None]] = []
    for spot in sorted(spots):
        changed = bytearray(data)
        changed[spot] ^= 1 << int(rng.integers(8))
        found.append((f"flip at {spot}", bytes(changed)))
    for length in np.linspace(1, len(data) - 1, CUTS).astype(int):
        found.append((f"cut to {length}", data[:length]))
    return [
        *found,
        ("empty", b""),
        ("deleted", None),
        ("longer", data + b"\0"),
        ("zeros", bytes(len(data))),
    ]


@pytest.mark.parametrize("codec", CODECS)
def test_every_damage_to_every_file_is_detected(tmp_path: Path, codec: str) -> None:
    pixels = pictures()
    bands, masks = coefficients(pixels), pixels[..., 0].copy()
    folder = commit(tmp_path, pixels=pixels, bands=bands, masks=masks, codec=codec)
    whole = files_of(folder)
    assert len(whole) == 8
    tried = refused = 0
    for number, (name, data) in enumerate(whole.items()):
        for what, changed in damages(data, number):
            path = folder / name
            path.unlink() if changed is None else path.write_bytes(changed)
            assert verify_video(folder), f"{codec}: {name} {what}: verify saw nothing"
            try:
                video = open_video(folder)
                read = (
                    video.read_crops(range(3)),
                    video.read_bands(range(3)),
                    video.read_masks(range(3)),
                )
                attributes = video.attributes
            except CacheError as error:
                assert str(folder) in str(error)
                refused += 1
            else:
                for got, expected in zip(read, (pixels, bands, masks), strict=True):
                    np.testing.assert_array_equal(got, expected, err_msg=f"{codec}: {name} {what}")
                assert attributes["label"] == 1
            tried += 1
            path.write_bytes(data)
    assert verify_video(folder) == []
    # Only bits that zstd ignores may be read: nearly every damage is refused, too.
    assert refused >= 0.98 * tried


def test_one_damaged_clip_spoils_only_itself(tmp_path: Path) -> None:
    pixels = pictures()
    folder = commit(tmp_path, pixels=pixels)
    path = folder / "crops" / "c.0.0.0.0.0"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255  # in the middle of the second of three clips
    path.write_bytes(data)
    video = open_video(folder)
    np.testing.assert_array_equal(video.read_crops([0, 2]), pixels[[0, 2]])
    with pytest.raises(CacheError, match="clip 1"):
        video.read_crops([0, 1, 2])


def test_damage_that_comes_after_opening_is_seen_when_reading(tmp_path: Path) -> None:
    for codec in CODECS:
        for harm in ("cut", "delete", "flip", "flip after a read"):
            folder = commit(tmp_path, f"{codec}-{harm.replace(' ', '-')}", codec=codec)
            video = open_video(folder)
            path = folder / "crops" / "c.0.0.0.0.0"
            if harm == "flip after a read":
                video.read_crops([0, 1, 2])
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 255
            if harm == "delete":
                path.unlink()
            else:
                path.write_bytes(data[:-1] if harm == "cut" else data)
            with pytest.raises(CacheError, match=codec):
                video.read_crops([0, 1, 2])


def test_files_of_two_videos_cannot_be_mixed(tmp_path: Path) -> None:
    one, two = commit(tmp_path, "a", pixels=pictures(1)), commit(tmp_path, "b", pixels=pictures(2))
    for name in files_of(two):
        shutil.copytree(one, tmp_path / "mixed")
        shutil.copy(two / name, tmp_path / "mixed" / name)
        if files_of(tmp_path / "mixed") != files_of(one):
            assert verify_video(tmp_path / "mixed"), name
        shutil.rmtree(tmp_path / "mixed")


class CacheMachine(RuleBasedStateMachine):
    """write, delete, damage, verify and open in any order against a dict of what each video should
    be.
    """

    IDS = ("a", "b", "c")

    @initialize()
    def start(self) -> None:
        self.parent = CacheMachine.root / f"run{CacheMachine.runs}"
        self.parent.mkdir()
        CacheMachine.runs += 1
        self.model: dict[
            str, tuple[int, str, bool]
        ] = {}  # id -> (seed of its pictures, codec, whole)

    @rule(video=st.sampled_from(IDS), seed=st.integers(0, 3), codec=st.sampled_from(list(CODECS)))
    def write(self, video: str, seed: int, codec: str) -> None:
        pixels = pictures(seed, clips=2, frames=1, side=16)
        if (
            video in self.model
            and not self.model[video][2]
            and not is_committed(self.parent / video)
        ):
            with pytest.raises(CacheError, match="in the way"):
                commit(self.parent, video, pixels=pixels, codec=codec)
            return
        commit(self.parent, video, pixels=pixels, codec=codec)
        self.model.setdefault(video, (seed, codec, True))

    @rule(video=st.sampled_from(IDS))
    def delete(self, video: str) -> None:
        remove_folder(self.parent / video)
        self.model.pop(video, None)

    @rule(
        video=st.sampled_from(IDS),
        file=st.integers(0, 3),
        spot=st.floats(0, 0.999),
        kind=st.integers(0, 2),
    )
    def damage(self, video: str, file: int, spot: float, kind: int) -> None:
        if not self.model.get(video, (0, "", False))[2]:
            return
        files = files_of(self.parent / video)
        name = sorted(files)[file]
        data, at = bytearray(files[name]), int(spot * len(files[name]))
        if kind == 0:
            data[at] ^= 255
        (self.parent / video / name).write_bytes(
            b"" if kind == 2 else data if kind == 0 else data[:at]
        )
        self.model[video] = (*self.model[video][:2], False)

    @rule(video=st.sampled_from(IDS))
    def repair(self, video: str) -> None:
        if video in self.model and verify_video(self.parent / video):
            remove_folder(self.parent / video)
            seed, codec, _ = self.model[video]
            commit(
                self.parent, video, pixels=pictures(seed, clips=2, frames=1, side=16), codec=codec
            )
            self.model[video] = (seed, codec, True)

    @rule(video=st.sampled_from(IDS))
    def read(self, video: str) -> None:
        if video not in self.model:
            with pytest.raises(CacheError):
                open_video(self.parent / video)
            return
        seed, _, whole = self.model[video]
        try:
            got = open_video(self.parent / video).read_crops(range(2))
        except CacheError:
            assert not whole
            return
        np.testing.assert_array_equal(got, pictures(seed, clips=2, frames=1, side=16))

    @invariant()
    def disk_is_as_modelled(self) -> None:
        if not hasattr(self, "model"):
            return
        assert {p.name for p in self.parent.iterdir()} == set(self.model)
        for video, (_, _, whole) in self.model.items():
            assert (verify_video(self.parent / video) == []) == whole

    def teardown(self) -> None:
        shutil.rmtree(self.parent, ignore_errors=True)


def _run_machine(root: Path, sequences: int) -> None:
    CacheMachine.root, CacheMachine.runs = root, 0
    machine = CacheMachine.TestCase
    machine.settings = settings(
        max_examples=sequences,
        stateful_step_count=12,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    machine().runTest()
    assert CacheMachine.runs >= sequences


def test_any_sequence_of_writing_deleting_damaging_and_repairing_keeps_the_promises(
    tmp_path: Path,
) -> None:
    _run_machine(tmp_path, 30)


@pytest.mark.slow
def test_five_hundred_sequences_keep_the_promises(tmp_path: Path) -> None:
    _run_machine(tmp_path, 500)

"""A folder appears whole or not at all, whatever happens meanwhile; one run at a time writes a
cache.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.support.small_videos import commit, files_of, pictures
from unmask.pipeline.cache.video import is_committed, verify_video
from unmask.pipeline.disk.folders import commit_folder, remove_folder
from unmask.pipeline.disk.locks import LOCK_FILE, lock_cache
from unmask.pipeline.disk.temporaries import remove_stale
from unmask.pipeline.errors import CacheError

ROOT = Path(__file__).parents[3]


def test_files_are_synced_before_folders_before_the_rename_before_the_parent(
    tmp_path, monkeypatch
) -> None:
    events: list[tuple[str, str]] = []
    real_fsync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        events.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
        real_fsync(descriptor)

    def rename(old: os.PathLike, new: os.PathLike) -> None:
        events.append(("rename", str(old)))
        real_rename(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    folder = commit(tmp_path)
    (renamed,) = [place for place, event in enumerate(events) if event[0] == "rename"]
    temporary = events[renamed][1]
    assert Path(temporary).parent == tmp_path
    synced = [name.removeprefix(temporary) for kind, name in events[:renamed]]
    assert set(synced) == {"", "/crops", *(f"/{name}" for name in files_of(folder))}
    for name in synced:
        inside = [
            synced.index(other)
            for other in synced
            if other != name and other.startswith(f"{name}/")
        ]
        assert all(place < synced.index(name) for place in inside), (
            f"{name or '.'} was synced before what it holds"
        )
    assert events[renamed + 1 :] == [("fsync", str(tmp_path))]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EXDEV, errno.EIO])
@pytest.mark.parametrize("call", ["mkdir", "fsync", "rename"])
def test_a_file_system_that_refuses_leaves_nothing_and_says_what_is_free(
    tmp_path, monkeypatch, call, code
) -> None:
    real = getattr(os, call)

    def refuse(*arguments, **options):
        if call == "mkdir" and ".tmp-" not in str(arguments[0]):
            return real(*arguments, **options)
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(CacheError, match=r"000_003.*MiB needed, .*MiB free") as caught:
            commit(tmp_path)
    assert os.strerror(code) in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert verify_video(commit(tmp_path)) == []  # and the next run goes on


def test_a_file_size_limit_stops_cleanly(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    pixels = pictures(clips=4, frames=4, side=64)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(CacheError, match="needed"):
            commit(tmp_path, pixels=pixels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        commit_folder(tmp_path / "a", fill, 0)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
import tests.support.small_videos as small
parent, points = Path(sys.argv[1]), [int(word) for word in sys.argv[2:]]
pixels = small.pictures()

def run(point):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        watched = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir")
        if event in watched and ".tmp-" in str(arguments[0]):
            seen += 1
            if seen == point:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    small.commit(parent / str(point), pixels=pixels)
    os._exit(7)

for point in points:
    child = os.fork()
    if not child:
        run(point)
    print(point, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_kill_at_any_file_system_event_leaves_the_video_absent_or_whole(tmp_path: Path) -> None:
    points = [str(point) for point in range(1, 61)]
    command = [sys.executable, "-c", KILLED, str(tmp_path), *points]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    ended = dict(map(int, line.split()) for line in done.stdout.splitlines())
    expected = files_of(commit(tmp_path / "whole"))
    assert set(ended.values()) == {-signal.SIGKILL, 7}, (
        "some must be killed and some must come through"
    )
    for point, code in ended.items():
        parent = tmp_path / str(point)
        folder = parent / "000_003"
        assert is_committed(folder) == folder.exists()
        assert code == -signal.SIGKILL or folder.exists()
        with lock_cache(parent):
            remove_stale(parent)
        assert files_of(commit(parent)) == expected
        assert sorted(p.name for p in parent.iterdir()) == [LOCK_FILE, "000_003"]


WRITER = """
import sys
from pathlib import Path
import tests.support.small_videos as small
print("ready", flush=True)
for number in range(10_000):
    small.commit(Path(sys.argv[1]), f"v{number}", pixels=small.pictures(number % 3))
"""


def test_a_kill_at_a_random_moment_leaves_every_video_absent_or_whole(tmp_path: Path) -> None:
    seen = 0
    for delay in (0.01, 0.09, 0.21, 0.34):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert writer.stdout.readline() == b"ready\n"
        while len(list(tmp_path.glob("v*"))) <= seen:  # however slow the machine is just now
            time.sleep(0.002)
        time.sleep(delay)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        seen = 0
        for folder in tmp_path.iterdir():
            if not folder.name.startswith("."):
                assert verify_video(folder) == []
                seen += 1
        remove_stale(tmp_path)
        assert not [p for p in tmp_path.iterdir() if p.name.startswith(".tmp-")]
    assert seen >= 4


def _write_many(parent: str, seed: int) -> None:
    for number in range(8):
        commit(Path(parent), f"v{number}", pixels=pictures(number))


def test_two_writers_of_the_same_videos_end_with_one_tree(tmp_path: Path) -> None:
    context = get_context("spawn")
    writers = [
        context.Process(target=_write_many, args=(str(tmp_path / "both"), seed))
        for seed in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    _write_many(str(tmp_path / "alone"), 0)
    assert files_of(tmp_path / "both") == files_of(tmp_path / "alone")
    assert len(list((tmp_path / "both").iterdir())) == 8


def test_cleaning_up_takes_dead_temporaries_only(tmp_path: Path) -> None:
    dead = tmp_path / ".tmp-000_003-4194305-0123abcd"
    (dead / "crops").mkdir(parents=True)
    (dead / "crops" / "x.partial").write_bytes(b"x")
    (tmp_path / ".tmp-probe-17").touch()
    foreign = [".tmpfile", ".tmp-notes", "tmp-1-2", "000_003"]
    for name in foreign:
        (tmp_path / name).mkdir()
    (tmp_path / ".tmp-link-1-0123abcd").symlink_to(tmp_path / "000_003")

    def fill(live: Path) -> None:
        assert remove_stale(tmp_path) == [dead.name, ".tmp-probe-17"]
        assert live.exists(), "a writer that lives must keep its folder"

    assert commit_folder(tmp_path / "new", fill, 0)
    assert {p.name for p in tmp_path.iterdir()} == {*foreign, "new", ".tmp-link-1-0123abcd"}


def test_removing_a_folder_is_one_rename_and_fine_when_it_is_absent(tmp_path: Path) -> None:
    commit(tmp_path)
    remove_folder(tmp_path / "000_003")
    remove_folder(tmp_path / "000_003")
    assert list(tmp_path.iterdir()) == []


HOLDER = """
import sys, time
from pathlib import Path
from unmask.pipeline.disk.locks import lock_cache
with lock_cache(Path(sys.argv[1]), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    time.sleep(60)
"""


def _holder(parent: Path, kind: str) -> subprocess.Popen:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(parent), kind],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_run_is_told_who_holds_the_cache_and_a_killed_holder_holds_nothing(
    tmp_path: Path,
) -> None:
    with _holder(tmp_path, "alone") as holder:
        for shared in (False, True):
            with (
                pytest.raises(CacheError, match=rf"pid {holder.pid} on '.+' since"),
                lock_cache(tmp_path, shared),
            ):
                pass
        holder.kill()
        holder.wait()
        with lock_cache(tmp_path, wait=10):
            assert f'"pid": {os.getpid()}' in (tmp_path / LOCK_FILE).read_text()
    assert (tmp_path / LOCK_FILE).read_bytes() == b""


def test_shared_holders_share_and_keep_an_exclusive_one_out(tmp_path: Path) -> None:
    with _holder(tmp_path, "shared") as holder, lock_cache(tmp_path, shared=True):
        with pytest.raises(CacheError, match="shared holder"), lock_cache(tmp_path):
            pass
        holder.kill()


def test_a_lock_in_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="cannot be locked"), lock_cache(tmp_path / "absent"):
        pass
    (tmp_path / LOCK_FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match="cannot be locked"), lock_cache(tmp_path):
        pass
    assert not (tmp_path / "elsewhere").exists()

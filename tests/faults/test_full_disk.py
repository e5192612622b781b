"""Every command that writes, on a file system that is really full: a small tmpfs, filled before the
command starts or so that it fills while the command runs. One line, exit code 4, nothing lost.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.forks import in_this_process, leftovers
from tests.support.trained import CLRNET, SMALL, make_run
from unmask.commands import main as cli
from unmask.pipeline.cache.index import INDEX
from unmask.pipeline.config import ExtractConfig
from unmask.pipeline.extraction import dispatch, publish
from unmask.pipeline.extraction import run as extraction
from unmask.pipeline.sources.dataset import Dataset, SourceOptions
from unmask.pipeline.sources.registry import discover

# Bytes left free: none, a page or a few, and enough for the first of the files that are written.
LEFT = (0, 4096, 20_000, 100_000)

# What needs no worker process and no training; the others take their time.
QUICK = ("evaluate", "export", "manifest")


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tmpfs of 256 MiB; skipped where none may be mounted."""
    place = tmp_path_factory.mktemp("small_disk")
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    words = ["mount", "-t", "tmpfs", "-o", "size=256m,mode=700", "tmpfs", str(place)]
    mounted = subprocess.run(words, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False)


@pytest.fixture(scope="module")
def planted(disk: Path, drawn: Path) -> Path:
    """The disk with a cache of three drawn videos, their manifests and a run on them."""
    found = discover("ffpp", drawn, SourceOptions(methods=("Deepfakes",)))
    fake = next(v for v in found.videos if v.label == 1)
    real = next(v for v in found.videos if v.label == 0)
    dataset = Dataset("ffpp", found.root, (fake, real))
    config = ExtractConfig(crop=SMALL, jobs=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "dispatch", in_this_process)
        ended = extraction.extract(dataset.videos, config, disk / "cache")
    written = publish.publish(dataset, ended, config, disk / "cache", disk / "manifests")
    manifest = next(iter(written))
    shutil.copy(manifest, disk / "list.txt")
    with open(disk / "list.txt", "w") as file:
        for path in written:
            file.write(path.read_text())
    settings = SMALL.settings("r1")
    make_run(disk / "run", disk / "list.txt", disk / "cache", settings, "clrnet", CLRNET)
    return disk


def words_of(command: str, disk: Path, drawn: Path) -> list[str]:
    """The command as a user types it; what it writes lies on the disk."""
    cache, manifest = ["--cache", str(disk / "cache")], ["--manifest", str(disk / "list.txt")]
    video = next(drawn.rglob("manipulated_sequences/Deepfakes/**/*.mp4"))
    model = [f"--option={name}={value}" for name, value in CLRNET.items()]
    return {
        "extract": [
            *("extract", "--dataset", "ffpp", "--root", str(drawn), *cache, "--jobs", "1"),
            *("--methods", "NeuralTextures", "--limit", "2", "--clips", "4", "--frames", "3"),
            *("--size", "64", "--manifests", str(disk / "manifests")),
        ],
        "train": [
            *("train", *manifest, *cache, "--model", "clrnet", *model, "--steps", "2"),
            *("--runs", str(disk / "runs"), "--device", "cpu"),
        ],
        "evaluate": [
            *("evaluate", *manifest, *cache, "--run", str(disk / "run"), "--resamples", "0"),
            *("--device", "cpu", "--allow-leakage", "--no-pictures"),
        ],
        "predict": [
            *("predict", str(video), "--run", str(disk / "run"), *cache, "--device", "cpu"),
            *("--report", str(disk / "page.html")),
        ],
        "export": ["export", *manifest, *cache, "--to", str(disk / "x.h5")],
        "export-model": ["export-model", "--run", str(disk / "run"), "--to", str(disk / "m.pt2")],
        "manifest": [
            *("manifest", "merge", str(disk / "list.txt"), *cache),
            *("--out", str(disk / "merged.txt")),
        ],
        "verify": ["verify", *cache, "--repair", "--jobs", "1"],
    }[command]  # fmt: skip


def run(words: list[str], log: Path) -> tuple[int, str]:
    """The command in a fork: its exit code, and what it wrote to stderr."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            for number, path in ((1, "/dev/null"), (2, log)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
            code = cli.main(words)
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code, log.read_text(errors="replace")


@contextlib.contextmanager
def filled(disk: Path, left: int) -> Iterator[None]:
    """All room of the disk taken but `left` bytes (whole pages)."""
    filler = disk / "filler"
    try:
        with open(filler, "wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass
            os.truncate(filler, max(0, os.fstat(file.fileno()).st_size // 4096 * 4096 - left))
        yield
    finally:
        filler.unlink()


def sums(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder, but locks and what fills the disk; of an index that of
    each row, for extract adds rows before it makes a video.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name in ("filler", ".lock"):
            continue
        name, data = str(path.relative_to(folder)), path.read_bytes()
        rows = data.replace(b"},\n", b"}\n").split(b"\n") if path.name == INDEX else [data]
        for row in rows:
            digest = hashlib.sha256(row).hexdigest()
            found[f"{name} {digest}" if path.name == INDEX else name] = digest
    return found


def full(
    command: str,
    disk: Path,
    drawn: Path,
    tmp_path: Path,
    figure: Callable[[str, str], None],
    lefts: tuple[int, ...] = LEFT,
) -> None:
    words, codes = words_of(command, disk, drawn), []
    damaged = next(path for path in sorted((disk / "cache").rglob("c.0*")) if "crops" in str(path))
    if command == "verify":
        data = damaged.read_bytes()
        damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    before = sums(disk)
    for left in lefts:
        with filled(disk, left):
            code, told = run(words, tmp_path / "stderr")
        # predict answers first, and then says which page it could not write.
        lines = [
            line
            for line in told.splitlines()
            if line.startswith("unmask:") or (command == "predict" and "not written (" in line)
        ]
        codes.append(code)
        assert "Traceback" not in told, told[-3000:]
        assert code in (0, 3, 4, 10, 11) and (code == 4) == (len(lines) == 1), (left, code, told)
        assert code != 4 or "MiB" in lines[0] or "cannot be written" in lines[0], lines
        after = sums(disk)
        lost = {name for name, digest in before.items() if after.get(name) != digest}
        assert not lost or code != 4, (left, lost)
        assert not leftovers(disk), (left, leftovers(disk))
        if code != 4:  # it had room enough: nothing is left to try
            break
    assert codes[0] == 4, "on a full disk nothing can be written"
    code, told = run(words, tmp_path / "stderr")
    assert code in (0, 10, 11), told[-2000:]
    assert not leftovers(disk)
    figure(f"full disk ({command})", f"exit codes {codes} with {lefts} bytes free, then {code}")


@pytest.mark.parametrize("command", QUICK)
def test_a_full_disk_is_one_line_and_nothing_is_lost(
    command: str, planted: Path, drawn: Path, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    full(command, planted, drawn, tmp_path, figure, LEFT[:2])


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [*QUICK, "export-model", "verify", "extract", "train", "predict"]
)
def test_a_disk_that_fills_while_a_command_writes(
    command: str, planted: Path, drawn: Path, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    # Tracing the network takes most of a minute each time.
    lefts = LEFT[::3] if command == "export-model" else LEFT
    full(command, planted, drawn, tmp_path, figure, lefts)

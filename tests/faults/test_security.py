"""The whole road with every door to the outside watched: no socket, no shell, nothing beside its
own folders.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

# Loaded by every Python process of the run, workers included. Local sockets between processes are
# no network, nor is urllib3's trial at import (facenet-pytorch brings it) whether a loopback
# address could be bound.
WATCH = """
import os, sys
def watch(event, args):
    network = event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
    if event == "socket.bind" and isinstance(args[1], tuple):
        network = args[1][0] not in ("::1", "127.0.0.1")
    network = network or (event == "socket.connect" and not isinstance(args[1], (str, bytes)))
    shell = event in ("os.system", "os.startfile", "pty.spawn", "webbrowser.open")
    if network or shell:
        with open(os.environ["UNMASK_WATCH"], "a") as file:
            file.write(f"{event} {args!r}\\n")
        os._exit(97)
sys.addaudithook(watch)
"""

ROAD = """
import sys, cli
for words in {commands!r}:
    code = cli.main(words)
    print(words[0], code, flush=True)
    if code not in (0, 3, 10, 11):
        sys.exit(code or 1)
"""


def watched(commands: list[list[str]], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path / 'watch'}{os.pathsep}{ROOT}",
        "UNMASK_WATCH": str(tmp_path / "opened"),
    }
    code = ROAD.format(commands=commands)
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_watch_sees_a_socket(tmp_path: Path) -> None:
    """Otherwise the test below could not fail."""
    (tmp_path / "watch").mkdir()
    (tmp_path / "watch" / "sitecustomize.py").write_text(WATCH)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "watch"),
        "UNMASK_WATCH": str(tmp_path / "opened"),
    }
    code = "import socket; socket.create_connection(('127.0.0.1', 9), 1)"
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 97
    )
    assert "socket." in (tmp_path / "opened").read_text()


def test_the_whole_road_opens_no_socket_and_calls_no_shell(
    drawn: Path, tmp_path: Path, figure: Callable[[str, str], None]
) -> None:
    hostile = tmp_path / '"><img src=x onerror=alert(1)>.mp4'
    shutil.copy(next(drawn.rglob("original_sequences/**/*.mp4")), hostile)
    small = ["--clips", "2", "--frames", "3", "--size", "48", "--methods", "Deepfakes"]
    places, lists = ["--cache", "cache"], Path("manifests") / "ffpp" / "c23"
    model = [
        "--model",
        "clrnet",
        *(f"--option={o}" for o in ("width=8", "frames=3", "size=48", "recurrent_kernel=1")),
    ]
    commands = [
        [
            "extract",
            "--dataset",
            "ffpp",
            "--root",
            str(drawn),
            *small,
            *places,
            "--manifests",
            "manifests",
        ],
        [
            "train",
            "--manifest",
            str(lists / "train.txt"),
            *places,
            *model,
            "--run",
            "run",
            "--steps",
            "2",
        ],
        ["evaluate", "--manifest", str(lists / "test.txt"), *places, "--run", "run"],
        ["predict", str(hostile), "--run", "run", *places, "--report", "page.html"],
        ["doctor", *places],
    ]
    run = watched(commands, tmp_path)
    opened = (tmp_path / "opened").read_text() if (tmp_path / "opened").exists() else ""
    assert run.returncode == 0 and not opened, opened + run.stdout[-1500:] + run.stderr[-3000:]
    done = [
        line.split()[0]
        for line in run.stdout.splitlines()
        if line.split()[:1] in ([c[0]] for c in commands)
    ]
    assert {c[0] for c in commands} <= set(done)
    page = (tmp_path / "page.html").read_text()
    assert "<img src=x" not in page and "default-src 'none'" in page
    figure(
        "the road, watched",
        f"{', '.join(c[0] for c in commands)}: 0 sockets, 0 shells; hostile name inert in HTML",
    )


@pytest.mark.parametrize(
    "line", ["../../{name} 1", "{root}/{name} 1", "link 1", "~/{name} 1", "a\0b 1"]
)
def test_a_manifest_cannot_lead_training_out_of_the_cache(line: str, tmp_path: Path) -> None:
    """The whole way a user goes: train refuses before it reads, whatever lies outside."""
    from tests.support.tiny_cache import make_cache
    from unmask.commands import main as cli

    cache, manifests = make_cache(tmp_path / "inside", {"train": 2})
    outside, _ = make_cache(tmp_path / "outside", {"train": 2})
    (cache / "link").symlink_to(next((outside / "tiny").glob("*/r000")))
    bad = line.format(name="outside/cache/tiny/tiny-key/r000", root=tmp_path)
    path = manifests / "train.txt"
    path.write_text(path.read_text() + bad + "\n")
    words = [
        "train",
        "--manifest",
        str(path),
        "--cache",
        str(cache),
        "--model",
        "clrnet",
        "--run",
        str(tmp_path / "r"),
    ]
    assert cli.main([*words, "--option", "frames=3", "--option", "size=32"]) == 4
    assert not (tmp_path / "r").exists()


def test_records_of_the_cache_that_are_no_records_are_one_clear_line(
    tmp_path: Path, capsys: object
) -> None:
    """An index of another program, too deep, or with a path that is no path: refused, never
    followed.
    """
    from unmask.commands import main as cli

    parent = tmp_path / "ffpp" / "key"
    (parent / "video").mkdir(parents=True)
    odd = (
        "[" * 100_000,
        "{}",
        "[]",
        '{"videos": 3, "settings": {}}',
        '{"videos": [{"path": 1}], "settings": {}}',
    )
    for text in odd:
        (parent / "index.json").write_text(text)
        assert cli.main(["verify", "--cache", str(tmp_path), "--repair"]) == 4
        assert "Traceback" not in capsys.readouterr().err

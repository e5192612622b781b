"""A file that is not there comes from its makers' server: once, whole, known to the byte."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.keras_files import random_meso4, write_keras
from unmask.pipeline.errors import CheckpointError, UsageError
from unmask.pipeline.zoo.install import open_release
from unmask.pipeline.zoo.releases import RELEASES


class Server(ThreadingHTTPServer):
    """Answers every path with `content`, of which it promises `promised` bytes."""

    content, status, promised = b"", 200, 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(self.server.promised or len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that has Meso4's file, of random weights, and a table that names it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        server.content = write_keras(tmp_path / "there.h5", random_meso4()).read_bytes()
        known = dataclasses.replace(
            RELEASES["meso4"],
            url=f"http://127.0.0.1:{server.server_port}/weights/Meso4_DF.h5",
            sha256=hashlib.sha256(server.content).hexdigest(),
            size=len(server.content),
        )
        monkeypatch.setitem(RELEASES, "meso4", known)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def test_a_file_that_is_not_there_is_fetched_once_and_said(server, tmp_path, caplog) -> None:
    root = tmp_path / "zoo"
    with caplog.at_level(logging.WARNING):
        folder = open_release("zoo:meso4", root, {"meso4"})
    assert (folder / "Meso4_DF.h5").read_bytes() == server.content
    assert (folder / "run.json").is_file() and server.asked == ["/weights/Meso4_DF.h5"]
    assert f"/weights/Meso4_DF.h5 ({len(server.content)} bytes)" in caplog.text
    open_release("zoo:meso4", root)
    (folder / "run.json").unlink()
    open_release("zoo:meso4", root, {"meso4"})
    assert len(server.asked) == 1


def test_nothing_is_asked_for_before_the_licence_is_accepted(server, tmp_path) -> None:
    with pytest.raises(UsageError, match="--accept-licence meso4"):
        open_release("zoo:meso4", tmp_path / "zoo")
    assert not server.asked and not (tmp_path / "zoo").exists()


@pytest.mark.parametrize("change", ["a byte", "longer"])
def test_another_file_is_refused_and_nothing_of_it_is_kept(change, server, tmp_path) -> None:
    body = bytearray(server.content)
    if change == "a byte":
        body[1000] ^= 1
    server.content = bytes(body) + (b"more" if change == "longer" else b"")
    with pytest.raises(CheckpointError, match="answers with another file than the one that is"):
        open_release("zoo:meso4", tmp_path / "zoo", {"meso4"})
    assert not left(tmp_path / "zoo")


def test_a_file_that_ends_early_is_refused_with_its_bytes(server, tmp_path) -> None:
    server.promised = len(server.content)
    server.content = server.content[:5000]
    with pytest.raises(UsageError, match=r"ended after 5000 of \d+ bytes; put Meso4_DF.h5"):
        open_release("zoo:meso4", tmp_path / "zoo", {"meso4"})
    assert not left(tmp_path / "zoo")


def test_without_a_network_one_line_says_what_to_place_where(server, tmp_path, monkeypatch) -> None:
    server.status = 404
    with pytest.raises(UsageError, match=r"could not be fetched \(Not Found\); put Meso4_DF.h5"):
        open_release("zoo:meso4", tmp_path / "zoo", {"meso4"})
    # a port that nobody listens on
    port = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.server_close()
    nowhere = f"http://127.0.0.1:{port.server_port}/Meso4_DF.h5"
    monkeypatch.setitem(RELEASES, "meso4", dataclasses.replace(RELEASES["meso4"], url=nowhere))
    with pytest.raises(
        UsageError, match=r"zoo:meso4: http://127.*Connection refused.*put Meso4"
    ) as e:
        open_release("zoo:meso4", tmp_path / "zoo", {"meso4"})
    assert "\n" not in str(e.value) and "DariusAf/MesoNet" in str(e.value)
    assert not left(tmp_path / "zoo")

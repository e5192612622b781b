"""Section 3.1 as one folder of everything that people have on their disks, extracted in one run:
who ends how.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tests.faults.forks import in_this_process
from tests.pipeline.decode.test_inputs import HTML, write_sound, write_two_streams
from tests.support.drawn_videos import Recipe, write_video
from unmask.commands import main as cli
from unmask.pipeline.cache.index import read_index
from unmask.pipeline.config import CropConfig, ExtractConfig
from unmask.pipeline.demo.drawing import draw_frames, draw_identity
from unmask.pipeline.extraction import dispatch, one_video, run
from unmask.pipeline.records import Outcome, Video
from unmask.pipeline.sources.dataset import Dataset, SourceOptions
from unmask.pipeline.sources.registry import discover

CONFIG = ExtractConfig(crop=CropConfig(clips=2, frames=2, size=48, bands=False))
WIDTH, HEIGHT, FRAMES = 240, 180, 12

# Names that are only names: each is a good video, and none may become markup, a command, an escape
# or a pattern.
NAMES: tuple[str | bytes, ...] = (
    "new\nline.mp4",
    "quote'\".mp4",
    "%d.mp4",
    "a:b.mp4",
    "-i.mp4",
    b"\xff\xfe.mp4",
    "x" * 251 + ".mp4",
    '"><script>alert(1)<script>.mp4',
    "\x1b[31mred.mp4",
    "=cmd().mp4",
    "\u202egpj.mp4",
    "same.mp4",
    "same.avi",
    "SAME.mp4",
    unicodedata.normalize("NFC", "caf\u00e9.mp4"),
    unicodedata.normalize("NFD", "caf\u00e9.mp4"),
    ".mp4.mp4",
    "con.mp4",
)


def frames_of(pictures: list[np.ndarray]) -> list[av.VideoFrame]:
    return [av.VideoFrame.from_ndarray(np.ascontiguousarray(p), format="rgb24") for p in pictures]


def face(who: int = 7001, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[np.ndarray]:
    return [picture for picture, _ in draw_frames(draw_identity(who), FRAMES, size, who, face=0.6)]


class Museum:
    """A folder of videos and what is expected of each: status, reason, and words or a check of its
    attributes.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.expected = root, {}
        self.face = face()
        (root / "real").mkdir(parents=True)

    def path(self, name: str | bytes, status: str, reason: str = "", check: object = None) -> Path:
        relative = os.path.join("real", os.fsdecode(name))
        self.expected[relative] = (status, reason, check)
        return self.root / relative

    def write(self, path: Path, pictures: list[np.ndarray] | None = None, **recipe: object) -> Path:
        pictures = self.face if pictures is None else pictures
        height, width = pictures[0].shape[:2]
        wanted = Recipe(frames=len(pictures), size=(width, height), suffix=path.suffix, **recipe)
        return write_video(path, wanted, frames_of(pictures))


def flagged(*flags: str) -> Callable[[dict], bool]:
    return lambda said: set(flags) <= set(said["outcome"]["flags"])


def fill_broken(museum: Museum) -> None:
    contents = {
        "zero.mp4": b"",
        "text.mp4": b"just words\n",
        "page.mp4": HTML,
        "random.mp4": os.urandom(9000),
    }
    contents["playlist.mp4"] = b"ffconcat version 1.0\nfile plain.mp4\n"
    contents["stream.mp4"] = b"#EXTM3U\n#EXTINF:10,\nplain.mp4\n#EXT-X-ENDLIST\n"
    contents["drawing.mp4"] = (
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/hostname'/></svg>"
    )
    for name, data in contents.items():
        museum.path(name, "failed", "not_a_video").write_bytes(data)
    write_sound(museum.path("sound.mp4", "failed", "no_video_stream"))
    still = museum.path("still.mp4", "failed", "no_video_stream")
    frames_of(museum.face)[0].save(str(still.with_suffix(".jpg")))
    still.with_suffix(".jpg").rename(still)
    write_two_streams(museum.path("cover.mp4", "skipped", "no_face"), cover=True)
    kinds = {
        "faststart.mp4": {"muxer": {"movflags": "frag_keyframe+empty_moov"}},
        "cut.mkv": {},
        "cut.ts": {},
    }
    kinds["cut.avi"] = {"codec": "mpeg4"}
    for name, recipe in kinds.items():
        recipe = {"options": {"g": "3", "bf": "0"}, **recipe}
        kept = museum.path(f"half-{name}", "ok", "", flagged("incomplete"))
        data = museum.write(kept, **recipe).read_bytes()
        kept.write_bytes(data[: len(data) * 2 // 3 | 1])
        museum.path(f"head-{name}", "failed", "truncated").write_bytes(
            data[: 1 + len(data) // 12 | 1]
        )
    moov_last = museum.write(museum.path("cut.mp4", "failed", "truncated"))
    moov_last.write_bytes(moov_last.read_bytes()[:-900])
    museum.path("gone.mp4", "failed", "missing").symlink_to("nowhere.mp4")
    museum.path("null.mp4", "failed", "not_a_file").symlink_to("/dev/null")
    museum.path("loop.mp4", "failed", "not_a_file").symlink_to("loop.mp4")
    os.mkfifo(museum.path("pipe.mp4", "failed", "not_a_file"))
    (museum.root / "real" / "folder.mp4").mkdir()


def fill_formats(museum: Museum) -> None:
    ok = museum.path
    for turns in (1, 2, 3):
        turned = [np.rot90(p, -turns) for p in museum.face]
        media = {"width": WIDTH, "height": HEIGHT, "rotation": 90 * turns}

        def upright(said, media=media):
            return media.items() <= said["media"].items()

        museum.write(
            ok(f"turned{turns}.mp4", "ok", "", upright), turned, rotation=(90 * turns, False, False)
        )
    museum.write(ok("mirrored.mp4", "failed", "unsupported_rotation"), rotation=(0, True, False))
    ticks = (0, 1, 2, 5, 6, 7, 8, 12, 13, 14, 15, 20)
    museum.write(
        ok(
            "gaps.mp4",
            "ok",
            "",
            lambda said: flagged("vfr")(said) and said["pts"][1][0] in np.float32(ticks) / 25,
        ),
        ticks=ticks,
    )
    for name in ("yuv420p10le", "yuv422p", "yuv444p", "gray"):

        def kept(said, name=name):
            return said["media"]["pixel_format"] == name

        # Without its colours hardly any drawn face is found; this one is.
        codec, pictures = ("ffv1", face(7020)) if name == "gray" else ("libx264", museum.face)
        museum.write(ok(f"{name}.mkv", "ok", "", kept), pictures, pixels=name, codec=codec)
    odd = [p[:-1, :-1] for p in museum.face]
    museum.write(
        ok("odd.mkv", "ok", "", lambda said: said["media"]["width"] == WIDTH - 1),
        odd,
        pixels="yuv444p",
    )
    interlaced = {"codec": "mpeg2video", "interlaced": True, "options": {"g": "3", "b": "900000"}}
    museum.write(ok("combed.mkv", "ok", "", flagged("interlaced")), **interlaced)
    blank = [np.full((60, 80, 3), 128, np.uint8)]
    museum.write(
        ok("tiny.mp4", "failed", "too_small"), [np.zeros((22, 64, 3), np.uint8)] * 3, codec="mpeg4"
    )
    museum.write(
        ok("wide.mkv", "failed", "too_large"), [np.zeros((600, 9000, 3), np.uint8)], codec="ffv1"
    )
    museum.write(ok("one.mp4", "skipped", "too_short"), blank)
    museum.write(ok("empty.mp4", "skipped", "no_face"), blank * 12)


def fill_people(museum: Museum) -> None:
    other = face(7003)
    crowd = [np.concatenate([a, b], axis=1) for a, b in zip(museum.face, other, strict=True)]
    museum.write(
        museum.path("two.mp4", "ok", "", lambda said: said["faces"] == 2 and said["track"] == 0),
        crowd,
    )
    leaving = [p if k < FRAMES // 2 else np.full_like(p, 120) for k, p in enumerate(museum.face)]

    def gone(said):
        return flagged("fewer_clips")(said) and said["dropped"] == [[1, "no_face"]]

    museum.write(museum.path("leaving.mp4", "ok", "", gone), leaving, options={"g": "6"})


def fill_names(museum: Museum) -> None:
    plain = museum.write(museum.path("plain.mp4", "ok"))
    for name in NAMES:
        path = museum.path(name, "ok")
        path.write_bytes(plain.read_bytes())
    for name in ("half.mp4.part", "half.mp4.crdownload", "._plain.mp4", "notes.txt"):
        (museum.root / "real" / name).write_bytes(plain.read_bytes()[:100])
    museum.path(b"bad\x1b[31m\n\xff.mp4", "failed", "not_a_video").write_text("words")


@pytest.fixture(scope="module")
def museum(tmp_path_factory: pytest.TempPathFactory) -> Museum:
    museum = Museum(tmp_path_factory.mktemp("museum"))
    for fill in (fill_broken, fill_formats, fill_people, fill_names):
        fill(museum)
    return museum


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in this process, where a fault of ours is the test's failure."""
    monkeypatch.setattr(dispatch, "dispatch", in_this_process)


@pytest.fixture(scope="module")
def ended(
    museum: Museum, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Dataset, dict[str, Outcome], Path]:
    work = tmp_path_factory.mktemp("extracted")
    dataset = discover("folder", museum.root, SourceOptions())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "dispatch", in_this_process)
        outcomes = run.extract(dataset.videos, CONFIG, work)
    return dataset, dict(zip((v.key for v in dataset.videos), outcomes, strict=True)), work


def test_every_input_ends_as_promised(
    museum: Museum,
    ended: tuple[Dataset, dict[str, Outcome], Path],
    figure: Callable[[str, str], None],
) -> None:
    _, found, work = ended
    assert found.keys() == museum.expected.keys()
    wrong = []
    for key, (status, reason, check) in museum.expected.items():
        outcome = found[key]
        if (outcome.status, outcome.reason) != (status, reason):
            wrong.append(f"{key!r}: {outcome}, expected {status} {reason}")
        elif check is not None:
            folder = run.cache_folder(work, "folder", CONFIG.crop) / outcome.video_id
            said = json.loads((folder / "zarr.json").read_bytes())["attributes"]
            if not check(said):
                wrong.append(f"{key!r}: {said['outcome']} {said['media']} {said['dropped']}")
    assert not wrong, "\n".join(wrong)
    figure("inputs of section 3.1", f"{len(found)} kinds of file, all as promised")


def test_names_become_safe_ids_and_come_back_from_the_records(
    museum: Museum, ended: tuple[Dataset, dict[str, Outcome], Path]
) -> None:
    dataset, found, work = ended
    parent = run.cache_folder(work, "folder", CONFIG.crop)
    assert len({o.video_id.casefold() for o in found.values()}) == len(found)
    assert all(
        re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,130}", o.video_id) for o in found.values()
    )
    by_id = {v.video_id: v for v in read_index(parent).videos}
    for one in dataset.videos:
        assert os.fsencode(by_id[one.video_id].path) == os.fsencode(one.path)
        if found[one.key].status == "ok":
            said = json.loads((parent / one.video_id / "zarr.json").read_bytes())["attributes"]
            assert os.fsencode(said["key"]) == os.fsencode(one.key)
    why = dict(dataset.ignored)
    assert why["real/half.mp4.part"] == why["real/half.mp4.crdownload"] == "unfinished download"


def test_the_command_names_them_without_moving_the_cursor(
    museum: Museum, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    places = [
        "--root",
        str(museum.root),
        "--cache",
        str(tmp_path / "cache"),
        "--manifests",
        str(tmp_path / "m"),
    ]
    words = [
        "extract",
        "--dataset",
        "folder",
        "--clips",
        "2",
        "--frames",
        "2",
        "--size",
        "48",
        "--no-bands",
        *places,
    ]
    assert cli.main(words) == 3
    said = capfdbinary.readouterr()
    expected = Counter(reason for _, reason, _ in museum.expected.values() if reason)
    assert expected["not_a_video"] == 8 and expected["truncated"] == 5
    for reason, count in expected.items():
        assert f"{reason} {count}".encode() in said.out
    for text in (said.out, said.err):
        text.decode("utf-8")
        assert b"\x1b" not in text and b"Traceback" not in text
    listed = [
        json.loads(line) for line in (tmp_path / "m" / "folder" / "none" / "outcomes.jsonl").open()
    ]
    assert len(listed) == len(museum.expected)
    assert cli.main([*words, "--strict"]) == 2, "unfinished downloads"
    assert b"2 downloads are unfinished" in capfdbinary.readouterr().err


@pytest.fixture
def one(museum: Museum, tmp_path: Path) -> Video:
    path = tmp_path / "v.mp4"
    path.write_bytes((museum.root / "real" / "plain.mp4").read_bytes())
    return Video("d", "v", "v", path, 0)


def while_reading(monkeypatch: pytest.MonkeyPatch, harm: Callable[[], None]) -> None:
    real = one_video.read_crops

    def read_crops(*arguments: object, **named: object) -> object:
        found = real(*arguments, **named)
        harm()
        return found

    monkeypatch.setattr(one_video, "read_crops", read_crops)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("harm", [grow, Path.unlink, lambda path: os.utime(path, ns=(0, 0))])
def test_a_file_that_changes_meanwhile_is_not_committed_and_tried_again(
    harm: Callable[[Path], None], one: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = one.path.read_bytes()
    with monkeypatch.context() as patch:
        while_reading(patch, lambda: harm(one.path))
        (outcome,) = run.extract([one], CONFIG, tmp_path / "cache")
    assert (outcome.status, outcome.reason) == ("failed", "changed_while_reading")
    assert not (run.cache_folder(tmp_path / "cache", "d", CONFIG.crop) / "v").exists()
    one.path.write_bytes(data)
    assert run.extract([one], CONFIG, tmp_path / "cache")[0].status == "ok"


def test_a_committed_video_whose_file_became_a_pipe_does_not_block(
    one: Video, tmp_path: Path
) -> None:
    run.extract([one], CONFIG, tmp_path / "cache")
    one.path.unlink()
    os.mkfifo(one.path)
    (outcome,) = run.extract([one], CONFIG, tmp_path / "cache")
    assert (outcome.status, outcome.reason) == ("failed", "not_a_file")


def test_clocks_decide_nothing(one: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times of files in the future or all equal, a clock that runs backwards: what is done stays
    done.
    """

    def clock() -> Iterator[float]:
        now = 4e9
        while True:
            now -= 1e6
            yield now

    ticking = clock()
    monkeypatch.setattr("time.time", lambda: next(ticking))
    monkeypatch.setattr("time.time_ns", lambda: int(next(ticking) * 1e9))
    parent = run.cache_folder(tmp_path / "cache", "d", CONFIG.crop)
    run.extract([one], CONFIG, tmp_path / "cache")
    made = (parent / "v").stat().st_ino
    for moment in (0, 4_102_444_800 * 10**9):
        os.utime(one.path, ns=(moment, moment))
        for path in [parent, *parent.rglob("*")]:
            os.utime(path, ns=(moment, moment))
        (outcome,) = run.extract([one], CONFIG, tmp_path / "cache")
        assert outcome.status == "ok" and (parent / "v").stat().st_ino == made
    other = replace(one, video_id="w", key="w")
    assert run.extract([other], CONFIG, tmp_path / "cache")[0].seconds >= 0

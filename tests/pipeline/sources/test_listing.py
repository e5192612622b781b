"""The walk: fixed order, picture folders, hidden rubbish, links and special files."""

from __future__ import annotations

import os
import random

import pytest

from tests.support.trees import plant
from unmask.pipeline.sources.listing import child, list_media, natural, nested_root, stem_of


def test_numbers_sort_as_numbers():
    names = ["v10.mp4", "v9.mp4", "v1.mp4", "a/2", "a/10", "²", "v09.mp4"]
    assert sorted(names, key=natural) == [
        "a/2",
        "a/10",
        "v1.mp4",
        "v09.mp4",
        "v9.mp4",
        "v10.mp4",
        "²",
    ]


def test_order_does_not_depend_on_creation_order(tmp_path):
    names = [f"{folder}/v{number}.mp4" for folder in "ab" for number in range(12)]
    for place, root in enumerate((tmp_path / "1", tmp_path / "2")):
        random.Random(place).shuffle(names)
        plant(root, *names)
    first, second = list_media(tmp_path / "1"), list_media(tmp_path / "2")
    assert first.videos == second.videos == sorted(names, key=natural)


def test_every_extension_in_any_case_and_the_rest_is_ignored_with_a_reason(tmp_path):
    good = ["a.mp4", "b.AVI", "c.MoV", "d.mkv", "e.webm", "f.m4v"]
    bad = {
        ".DS_Store": "file of the operating system",
        "._a.mp4": "file of the operating system",
        "Thumbs.db": "file of the operating system",
        "desktop.ini": "file of the operating system",
        "g.mp4.part": "unfinished download",
        "h.mp4.crdownload": "unfinished download",
        "tmpq3kz9x": "not media (no extension)",
        "list.txt": "not media (.txt)",
        ".mp4": "not media (no extension)",
    }
    listing = list_media(plant(tmp_path, *good, *bad))
    assert listing.videos == good
    assert dict(listing.ignored) == bad


@pytest.mark.parametrize(
    ("name", "head", "video"),
    [
        ("a.divx", b"RIFF\x10\0\0\0AVI LIST", True),
        ("a.f4v", b"\0\0\0\x18ftypf4v ", True),
        ("a.bak", b"\x1a\x45\xdf\xa3\x01", True),
        ("a.ogx", b"OggS" + bytes(24) + b"\x80theora", True),
        ("a.ogx", b"OggS" + bytes(24) + b"\x01vorbis", False),
        ("a.m4r", b"\0\0\0\x18ftypM4A ", False),
        ("a.dat", b"path,label\n", False),
        ("a.m4a", b"\0\0\0\x18ftypisom", False),
        ("a.mp4.part", b"\0\0\0\x18ftypisom", False),
        (".a.divx", b"RIFF\x10\0\0\0AVI LIST", False),
        ("tmpq3kz9x", b"\0\0\0\x18ftypisom", False),
    ],
)
def test_content_decides_where_the_extension_is_unknown(tmp_path, name, head, video):
    (tmp_path / name).write_bytes(head + bytes(600))
    listing = list_media(tmp_path)
    assert listing.videos == [name] * video
    assert [path for path, _ in listing.ignored] == [name] * (not video)


def test_a_fifo_of_an_unknown_extension_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "a.divx")
    assert list_media(tmp_path).ignored == [("a.divx", "not media (.divx)")]


def test_a_folder_of_pictures_is_one_video_and_pictures_beside_videos_are_not(tmp_path):
    plant(
        tmp_path,
        "clip/1.png",
        "clip/2.png",
        "clip/10.JPG",
        "film/a.mp4",
        "film/thumb.jpg",
        "empty/notes.txt",
    )
    listing = list_media(tmp_path)
    assert listing.folders == ["clip"]
    assert listing.videos == ["film/a.mp4"]
    assert ("film", "1 pictures beside videos") in listing.ignored
    assert listing.media == ["clip", "film/a.mp4"]


def test_pictures_without_extension_count_only_where_they_are_known_to_be_pictures(tmp_path):
    plant(tmp_path, "sa1/001", "sa1/002")
    assert list_media(tmp_path).folders == []
    assert list_media(tmp_path, bare_pictures=True).folders == ["sa1"]


def test_link_loops_end_and_every_real_folder_is_listed_once(tmp_path):
    plant(tmp_path, "a/v.mp4")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert list_media(tmp_path).videos == ["a/v.mp4"]


def test_special_names_and_files_are_listed_and_nothing_is_opened(tmp_path):
    names = ["-dash.mp4", "%d.mp4", "a:b.mp4", "new\nline.mp4", "ünï code.mp4", "x" * 251 + ".mp4"]
    plant(tmp_path, *names)
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    raw = os.path.join(os.fsencode(tmp_path), b"\xff\xfe.mp4")
    with open(raw, "wb") as file:
        file.write(b"x")
    listed = list_media(tmp_path).videos
    assert set(listed) == {*names, "fifo.mp4", "gone.mp4", os.fsdecode(b"\xff\xfe.mp4")}
    assert os.fsencode(listed[-1]) in (b"\xff\xfe.mp4", "ünï code.mp4".encode())


def test_an_absent_folder_gives_nothing(tmp_path):
    assert list_media(tmp_path, "nowhere").media == []


def test_root_one_or_two_levels_down_is_found_but_never_guessed(tmp_path):
    plant(tmp_path, "one/two/marker/x.mp4")
    assert nested_root(tmp_path, ("marker",)) == tmp_path / "one" / "two"
    plant(tmp_path, "other/two/marker/x.mp4")
    assert nested_root(tmp_path, ("marker",)) == tmp_path, "two candidates: stay"


@pytest.mark.parametrize(
    ("name", "stem"), [("a/000_003.mp4", "000_003"), ("b/v1.2", "v1.2"), ("c.AVI", "c")]
)
def test_stem_drops_only_a_videos_extension(name, stem):
    assert stem_of(name) == stem


def test_child_ignores_case(tmp_path):
    plant(tmp_path, "Youtube-real/1.mp4")
    assert child(tmp_path, "YouTube-real").name == "Youtube-real"
    assert child(tmp_path, "absent") == tmp_path / "absent"


@pytest.mark.parametrize(
    "name",
    [".ipynb_checkpoints", ".Trash-1000", "$RECYCLE.BIN", "__MACOSX", "@eaDir", ".AppleDouble"],
)
def test_folders_that_systems_leave_are_passed_over_and_listed(tmp_path, name):
    plant(tmp_path, "real/a.mp4", f"real/{name}/files/deleted.mp4", f"real/{name}/0-checkpoint.jpg")
    listing = list_media(tmp_path)
    assert listing.media == ["real/a.mp4"]
    assert listing.ignored == [(f"real/{name}", "folder of the operating system")]


def test_a_person_s_own_folder_with_a_dot_is_read(tmp_path):
    assert list_media(plant(tmp_path, ".mine/a.mp4")).videos == [".mine/a.mp4"]

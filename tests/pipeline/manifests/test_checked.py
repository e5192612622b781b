"""Manifests: one strict grammar, every bad line named, nothing outside the cache, no mixed
extractions.
"""

from __future__ import annotations

import hashlib
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import tiny_cache
from tests.support.cached_folders import KEY, plant_cached, plant_pictures, plant_video
from unmask.pipeline.errors import DiskError, ManifestError
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.manifests.text import MAX_LINE, parse, render, write_manifest
from unmask.pipeline.records import Entry


def pairs(entries):
    return [(entry.folder, entry.label) for entry in entries]


@pytest.mark.parametrize(
    ("line", "entry"),
    [
        ("a/b/c 0", ("a/b/c", 0)),
        ("Asian (East)/id 1 1", ("Asian (East)/id 1", 1)),
        ("./a//b/ 1", ("a/b", 1)),
        ("日本/é 1", ("日本/é", 1)),
        ("..a/b.. 0", ("..a/b..", 0)),
        ("a\u2028b 1", ("a\u2028b", 1)),
    ],
)
def test_good_lines(line, entry):
    assert pairs(parse(line.encode())) == [entry]


def test_blank_lines_comments_bom_and_windows_line_ends_are_read():
    data = b"\xef\xbb\xbf# made by hand\r\n\r\nffpp/k/a 0\r\n  \r\n#x 1\nffpp/k/b 1"
    entries = parse(data)
    assert pairs(entries) == [("ffpp/k/a", 0), ("ffpp/k/b", 1)]
    assert [entry.line for entry in entries] == [3, 6]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"a", "not '<folder> <label>'"),
        (b"a 2", "label '2'"),
        (b"a -1", "label '-1'"),
        (b"a fake", "label 'fake'"),
        (b"a 1.0", "label '1.0'"),
        (b"a 01", "label '01'"),
        (b"a 1 ", "space at the end"),
        (b"a\t1", "not '<folder> <label>'"),
        (b"a\tb 1", "control character"),
        (b" 1", "not '<folder> <label>'"),
        (b" a 1", "spaces around"),
        (b"a  1", "spaces around"),
        (b"\xff\xfe 1", "not UTF-8"),
        (b"a\0b 1", "control character"),
        (b"a\x1b[2J 1", "control character"),
        (b"../a 1", "path_outside_cache"),
        (b"a/../../b 1", "path_outside_cache"),
        (b"/etc 1", "path_outside_cache"),
        (b"~/a 1", "path_outside_cache"),
        (b"a\\b 1", "forward slashes"),
        (b". 1", "empty folder"),
        ("\ufeffa 1".encode(), "byte order mark"),
        (b"a" * MAX_LINE + b" 1", "at most 4096"),
        ("a １".encode(), "label '１'"),
    ],
)
def test_each_bad_line_is_named_with_its_number(line, why):
    with pytest.raises(ManifestError) as caught:
        parse(b"good 0\n" + line + b"\n", "m.txt")
    assert "m.txt: 1 bad lines" in str(caught.value) and "m.txt:2: " in str(caught.value)
    assert why in str(caught.value)


def test_all_bad_lines_are_counted_and_twenty_shown():
    with pytest.raises(ManifestError) as caught:
        parse(b"a 7\n" * 25, "m.txt")
    text = str(caught.value)
    assert (
        "25 bad lines" in text
        and "m.txt:20:" in text
        and "m.txt:21:" not in text
        and "5 more" in text
    )


# Any folder that a manifest can hold, in its plain form: inner spaces and all scripts, no control
# signs.
part = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="/\\\ufeff"),
    min_size=1,
    max_size=12,
)
folder = (
    st.lists(part.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4)
    .map("/".join)
    .filter(lambda name: name == name.strip() and name[0] not in "#~")
)
entry = st.builds(Entry, folder=folder, label=st.sampled_from([0, 1]))


def round_trip(entries):
    assert pairs(parse(render(entries))) == pairs(entries)


def survives(data):
    try:
        entries = parse(data)
    except ManifestError:
        return
    assert pairs(parse(render(entries))) == pairs(entries)


@settings(max_examples=200, deadline=None)
@given(st.lists(entry, max_size=8))
def test_what_is_written_is_read_back(entries):
    round_trip(entries)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text("a /.#01\\~\t\r\n\ufeff", max_size=60).map(str.encode))
def test_any_bytes_give_entries_or_a_manifest_error(data):
    survives(data)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(st.lists(entry, max_size=8))
def test_what_is_written_is_read_back_long(entries):
    round_trip(entries)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(st.binary(max_size=400) | st.text("a /.#01\\~\t\r\n\ufeff", max_size=80).map(str.encode))
def test_any_bytes_give_entries_or_a_manifest_error_long(data):
    survives(data)


@pytest.mark.parametrize("name", ["a b/c", "x/(1)", "é"])
def test_folders_with_spaces_and_signs_do_round_trip(name):
    assert pairs(parse(render([Entry(name, 1)]))) == [(name, 1)]


@pytest.mark.parametrize(
    "bad",
    [
        Entry("a", 2),
        Entry("", 0),
        Entry("/a", 0),
        Entry("a/../b", 0),
        Entry("#a", 0),
        Entry("a//b", 1),
        Entry("a\nb 1\nc", 0),
        Entry("\udcff", 1),
        Entry("x" * 5000, 0),
    ],
)
def test_nothing_is_written_that_could_not_be_read(tmp_path, bad):
    path = tmp_path / "m.txt"
    with pytest.raises(ManifestError):
        write_manifest(path, [Entry("ok", 0), bad])
    assert list(tmp_path.iterdir()) == []


def test_writing_gives_the_digest_and_leaves_nothing_else(tmp_path):
    digest = write_manifest(
        tmp_path / "d" / "train.txt", [Entry("ffpp/k/b", 1), Entry("ffpp/k/a", 0)]
    )
    data = (tmp_path / "d" / "train.txt").read_bytes()
    assert data == b"ffpp/k/b 1\nffpp/k/a 0\n", "the order given is kept"
    assert digest == hashlib.sha256(data).hexdigest()
    assert os.listdir(tmp_path / "d") == ["train.txt"]


def test_a_failed_write_leaves_the_old_manifest(tmp_path, monkeypatch):
    path = tmp_path / "m.txt"
    write_manifest(path, [Entry("a", 0)])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match=r"No space.*MiB needed, .*MiB free"):
        write_manifest(path, [Entry("b", 1)])
    assert path.read_bytes() == b"a 0\n" and os.listdir(tmp_path) == ["m.txt"]


def test_a_cache_written_by_the_real_writer_is_found_with_its_key(tmp_path):
    cache, manifests = tiny_cache.make_cache(tmp_path, {"train": 2})
    manifest = read_manifest(manifests / "train.txt", cache)
    assert manifest.key == tiny_cache.KEY and len(manifest) == 4 and manifest.labels == {0, 1}
    assert manifest.folders[0] == cache / manifest.entries[0].folder
    assert manifest.sha256 == hashlib.sha256((manifests / "train.txt").read_bytes()).hexdigest()


@pytest.fixture
def cache(tmp_path):
    cache = tmp_path / "cache"
    for name, label in (("a", 0), ("b", 1), ("c", 1)):
        plant_video(cache, name, label)
    return cache


def manifest_of(tmp_path, text):
    (tmp_path / "m.txt").write_text(text)
    return tmp_path / "m.txt"


def test_duplicates_are_used_once_with_one_warning(tmp_path, cache):
    path = manifest_of(
        tmp_path, f"ffpp/{KEY}/a 0\nffpp/{KEY}/a 0\nffpp/{KEY}/b 1\n./ffpp/{KEY}/a 0\n"
    )
    manifest = read_manifest(path, cache)
    assert len(manifest) == 2 and manifest.warnings == (
        f"{path}: 2 lines are there twice; each is used once",
    )


def test_one_folder_with_two_labels_is_refused_with_both_lines(tmp_path, cache):
    path = manifest_of(tmp_path, f"ffpp/{KEY}/a 0\nffpp/{KEY}/b 1\nffpp/{KEY}/a 1\n")
    with pytest.raises(ManifestError, match=r"m\.txt:3: .*label 1 here, 0 in line 1"):
        read_manifest(path, cache)


def test_missing_folders_are_refused_with_counts_or_left_out_when_allowed(tmp_path, cache):
    path = manifest_of(tmp_path, f"ffpp/{KEY}/a 0\nffpp/{KEY}/x 1\nffpp/{KEY}/y 1\n")
    with pytest.raises(
        ManifestError, match=r"(?s)2 of 3 folders.*--allow-missing.*m\.txt:2: no crops"
    ):
        read_manifest(path, cache)
    manifest = read_manifest(path, cache, allow_missing=True)
    assert [e.line for e in manifest.missing] == [2, 3] and len(manifest.folders) == len(
        manifest.entries
    ) == 1
    assert "2 of 3 folders are missing" in manifest.warnings[0]


def test_a_manifest_without_any_folder_left_is_refused_even_when_missing_is_allowed(
    tmp_path, cache
):
    with pytest.raises(ManifestError, match="1 of 1 folders"):
        read_manifest(manifest_of(tmp_path, "ffpp/gone/x 1\n"), cache, allow_missing=True)


def test_an_unfinished_folder_is_missing(tmp_path, cache):
    (cache / f"ffpp/{KEY}/d" / "crops").mkdir(parents=True)
    with pytest.raises(ManifestError, match="1 of 1 folders"):
        read_manifest(manifest_of(tmp_path, f"ffpp/{KEY}/d 1\n"), cache)


@pytest.mark.parametrize("text", ["", "# nothing\n\n", "\ufeff"])
def test_an_empty_manifest_is_refused(tmp_path, cache, text):
    with pytest.raises(ManifestError, match="no entries"):
        read_manifest(manifest_of(tmp_path, text), cache)


def test_links_that_lead_out_of_the_cache_are_refused_and_links_inside_are_not(tmp_path, cache):
    outside = tmp_path / "outside"
    plant_cached(outside, "v", label=1)
    (cache / "ffpp" / KEY / "out").symlink_to(outside / "v")
    (cache / "ffpp" / "link").symlink_to(outside)
    (cache / "ffpp" / KEY / "in").symlink_to(cache / "ffpp" / KEY / "b")
    for folder in (f"ffpp/{KEY}/out", "ffpp/link/v"):
        with pytest.raises(ManifestError, match=r"m\.txt:1: .*path_outside_cache"):
            read_manifest(manifest_of(tmp_path, f"{folder} 1\n"), cache)
    assert len(read_manifest(manifest_of(tmp_path, f"ffpp/{KEY}/in 1\n"), cache)) == 1


def test_a_cache_that_is_itself_a_link_is_fine(tmp_path, cache):
    (tmp_path / "link").symlink_to(cache)
    assert len(read_manifest(manifest_of(tmp_path, f"ffpp/{KEY}/a 0\n"), tmp_path / "link")) == 1


def test_two_extractions_are_never_mixed_and_the_difference_is_named(tmp_path, cache):
    other = plant_video(cache, "z", 1, key="16x5-240px-ffff", settings={"margin": 1.5, "size": 240})
    same = plant_video(cache, "y", 0, key="16x5-240px-eeee", settings={"margin": 1.3, "size": 240})
    with pytest.raises(
        ManifestError, match=r"2 different extractions.*margin 1\.3 and 1\.5.*line 2"
    ):
        read_manifest(manifest_of(tmp_path, f"{same.folder} 0\n{other.folder} 1\n"), cache)


def test_picture_folders_beside_the_manifest_or_in_the_cache_root(tmp_path, cache):
    plant_pictures(tmp_path, "faces/real 1")
    plant_pictures(tmp_path, "faces/fake 1")
    path = tmp_path / "faces" / "list.txt"
    path.write_text("real 1 0\nfake 1 1\n")
    beside, inside = read_manifest(path, cache), read_manifest(path, tmp_path / "faces")
    assert beside.key == inside.key == "pictures"
    assert beside.folders == (tmp_path / "faces/real 1", tmp_path / "faces/fake 1")


def test_crops_and_pictures_are_never_mixed(tmp_path, cache):
    plant_pictures(tmp_path, "p")
    with pytest.raises(ManifestError, match="must not be mixed"):
        read_manifest(manifest_of(tmp_path, f"ffpp/{KEY}/a 0\np 1\n"), cache)


def test_a_folder_without_pictures_is_missing(tmp_path, cache):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "notes.txt").write_text("x")
    with pytest.raises(ManifestError, match="1 of 1 folders"):
        read_manifest(manifest_of(tmp_path, "p 1\n"), cache)


def test_what_is_no_file_is_refused_without_blocking(tmp_path, cache):
    os.mkfifo(tmp_path / "fifo.txt")
    for name in ("absent.txt", "fifo.txt", "."):
        with pytest.raises(ManifestError, match="no such manifest"):
            read_manifest(tmp_path / name, cache)
    with pytest.raises(ManifestError):
        read_manifest(tmp_path / "nul\0.txt", cache)


def test_a_file_beyond_the_limit_is_not_read(tmp_path, cache):
    path = tmp_path / "m.txt"
    with path.open("wb") as file:
        file.truncate(101 * 1024 * 1024)
    assert stat.S_ISREG(path.stat().st_mode)
    with pytest.raises(ManifestError, match="at most"):
        read_manifest(path, cache)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"attributes": 5}', b"\xff", b"[" * 100000]
)
def test_damaged_metadata_gives_no_settings_but_a_clear_error_or_nothing(tmp_path, cache, content):
    bad = plant_video(cache, "z", 1, key="other")
    (cache / bad.folder / "zarr.json").write_bytes(content)
    with pytest.raises(ManifestError):
        read_manifest(manifest_of(tmp_path, f"ffpp/{KEY}/a 0\n{bad.folder} 1\n"), cache)

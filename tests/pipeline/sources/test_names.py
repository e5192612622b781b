"""Ids are safe folder names, unique where case and Unicode form are ignored, and independent of
the order.
"""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.pipeline.sources.names import MAX_LENGTH, slug, video_ids

SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("Deepfakes/c23/000_003", "Deepfakes-c23-000_003"),
        (
            "FakeVideo-FakeAudio/Asian (East)/men/id1/a.mp4",
            "FakeVideo-FakeAudio-Asian-East-men-id1-a",
        ),
        ("fake/Zoë.MP4", "fake-Zoe"),
        ("a.b.c", "a.b.c"),
        ("../../etc/passwd", "etc-passwd"),
        ("--help", "help"),
    ],
)
def test_slug_keeps_what_is_readable(key, expected):
    assert slug(key) == expected


@pytest.mark.parametrize(
    "key", ["", "...", "日本", "con", "NUL.mp4", "a" * 300, "\udcff\udcfe", "/"]
)
def test_names_that_cannot_be_folders_get_a_digest(key):
    name = slug(key)
    assert re.search(r"-[0-9a-f]{8}$|^video-[0-9a-f]{8}$", name)
    assert SAFE.fullmatch(name) and len(name) <= MAX_LENGTH


def test_a_readable_name_before_an_extension_survives_but_two_containers_do_not_collide():
    plain, (first, second) = slug("real/a.mp4"), video_ids(["real/a.mp4", "real/a.avi"])
    assert plain == "real-a"
    assert first != second and first.startswith("real-a-") and second.startswith("real-a-")


def test_case_and_unicode_twins_are_told_apart():
    composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    ids = video_ids([composed, decomposed, "a/B", "a/b", "a-b"])
    assert len({name.casefold() for name in ids}) == 5


def test_a_key_that_looks_like_anothers_digest_still_gets_its_own_name():
    twins = ["x/y", "x-y"]
    copy = video_ids(twins)[0]
    ids = video_ids([*twins, copy])
    assert len(set(ids)) == 3


def test_equal_keys_are_refused():
    with pytest.raises(ValueError, match="twice"):
        video_ids(["a", "b", "a"])


names = st.text(st.characters(codec="utf-8"), max_size=40) | st.text("aAbB.-_/é日", max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.lists(names, unique=True, max_size=30), st.randoms())
def test_ids_are_safe_unique_and_do_not_depend_on_the_order(given_keys, shuffler):
    ids = video_ids(given_keys)
    assert all(SAFE.fullmatch(name) and len(name) <= MAX_LENGTH for name in ids)
    assert not any("--" in name for name in ids), (
        "-- separates the further people of a video in the cache"
    )
    assert len({name.casefold() for name in ids}) == len(given_keys)
    shuffled = list(given_keys)
    shuffler.shuffle(shuffled)
    assert dict(zip(shuffled, video_ids(shuffled), strict=True)) == dict(
        zip(given_keys, ids, strict=True)
    )

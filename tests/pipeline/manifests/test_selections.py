"""Counts, leaks, merging and filtering of manifests, by what the cache says of the videos."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support import tiny_cache
from tests.support.cached_folders import plant_pictures, plant_video, write
from unmask.pipeline.errors import ManifestError, UsageError
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.manifests.selections import count, leaks, merge, relabelled, select
from unmask.pipeline.records import Entry


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def read(tmp_path, cache, name, *entries):
    return read_manifest(write(tmp_path / f"{name}.txt", *entries), cache)


def test_counts_per_dataset_compression_method_and_label(tmp_path, cache):
    entries = [plant_video(cache, f"r{n}", 0) for n in range(3)]
    entries += [plant_video(cache, f"f{n}", 1, method="FaceSwap") for n in range(2)]
    entries += [plant_video(cache, "d", 1, compression="c40")]
    assert count(read(tmp_path, cache, "m", *entries)) == [
        ("ffpp", "c23", "FaceSwap", 1, 2),
        ("ffpp", "c23", "real", 0, 3),
        ("ffpp", "c40", "Deepfakes", 1, 1),
    ]


def test_the_same_video_and_a_shared_group_are_leaks_and_apart_is_none(tmp_path, cache):
    a, b, c, d = (plant_video(cache, name, n % 2, group=group) for n, (name, group) in enumerate(
        {"a": "000_003", "b": "000_003", "c": "1", "d": "2"}.items()
    ))  # fmt: skip
    train, test, other = (
        read(tmp_path, cache, n, *e) for n, e in (("train", (a, c)), ("test", (b, c)), ("o", (d,)))
    )
    found = leaks([train, test, other])
    assert [(leak.first.stem, leak.second.stem) for leak in found] == [("train", "test")]
    assert found[0].videos == (c.folder,)
    assert found[0].groups == (("ffpp", "000_003"), ("ffpp", "1"))


def test_two_compressions_of_one_video_leak_through_their_group(tmp_path, cache):
    a = plant_video(cache, "a-c23", 0, group="000_003")
    b = plant_video(cache, "a-c40", 0, group="000_003", compression="c40")
    assert leaks([read(tmp_path, cache, "x", a), read(tmp_path, cache, "y", b)])


def test_equal_group_names_of_two_datasets_do_not_leak(tmp_path, cache):
    a, b = (
        plant_video(cache, "a", 0, group="1"),
        plant_video(cache, "b", 0, group="1", dataset="dfd"),
    )
    assert leaks([read(tmp_path, cache, "x", a), read(tmp_path, cache, "y", b)]) == []


def test_one_video_through_a_link_is_the_same_video(tmp_path, cache):
    a = plant_video(cache, "a", 0, group="")
    link = a.folder.replace("/a", "/alias")
    (cache / link).symlink_to(cache / a.folder)
    assert leaks([read(tmp_path, cache, "x", a), read(tmp_path, cache, "y", Entry(link, 0))])[
        0
    ].videos == (a.folder,)


def test_labels_that_differ_from_the_cache_are_found(tmp_path, cache):
    a, b = plant_video(cache, "a", 0), plant_video(cache, "b", 1)
    assert relabelled(read(tmp_path, cache, "m", a, Entry(b.folder, 0))) == [Entry(b.folder, 0, 2)]
    assert relabelled(read(tmp_path, cache, "n", a, b)) == []


def test_the_attributes_of_a_really_written_cache_are_understood(tmp_path):
    cache, manifests = tiny_cache.make_cache(tmp_path, {"train": 2})
    assert count(read_manifest(manifests / "train.txt", cache)) == [
        ("tiny", "none", "Deepfakes", 1, 2),
        ("tiny", "none", "real", 0, 2),
    ]


def test_merge_keeps_order_drops_twins_and_refuses_conflicts_and_other_keys(tmp_path, cache):
    a, b, c = plant_video(cache, "a", 0), plant_video(cache, "b", 1), plant_video(cache, "c", 1)
    first, second = read(tmp_path, cache, "first", b, a), read(tmp_path, cache, "second", a, c)
    assert [e.folder for e in merge([first, second])] == [b.folder, a.folder, c.folder]
    with pytest.raises(ManifestError, match=r"bad\.txt:1: .*label 1 here, 0 in .*first\.txt:2"):
        merge([first, read(tmp_path, cache, "bad", Entry(a.folder, 1))])
    other = plant_video(cache, "z", 1, key="other")
    with pytest.raises(ManifestError, match="must not be mixed"):
        merge([first, read(tmp_path, cache, "third", other)])


@pytest.fixture
def many(tmp_path, cache):
    entries = [plant_video(cache, f"r{n}", 0) for n in range(6)]
    entries += [plant_video(cache, f"d{n}", 1) for n in range(9)]
    entries += [plant_video(cache, f"s{n}", 1, method="FaceSwap") for n in range(9)]
    return read(tmp_path, cache, "many", *entries)


def labels(entries):
    return Counter(entry.label for entry in entries)


def test_methods_keep_the_reals(many):
    chosen = select(many, methods=["faceswap"])
    assert labels(chosen) == {0: 6, 1: 9} and all(
        "/r" in e.folder or "/s" in e.folder for e in chosen
    )


def test_balance_limit_and_label(many):
    assert labels(select(many, balance=True)) == {0: 6, 1: 6}
    assert labels(select(many, balance=True, limit=4)) == {0: 4, 1: 4}
    assert labels(select(many, limit=2)) == {0: 2, 1: 2}
    assert labels(select(many, label=1)) == {1: 18}


def test_which_ones_stay_depends_on_the_seed_alone(many):
    assert (
        select(many, limit=3, seed=1)
        == select(many, limit=3, seed=1)
        != select(many, limit=3, seed=2)
    )
    chosen = select(many, limit=3)
    assert [e.line for e in chosen] == sorted(e.line for e in chosen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["Face2Face"]}, "no method 'Face2Face'.*Deepfakes, FaceSwap"),
        ({"compression": "c40"}, "no compression 'c40'"),
    ],
)
def test_what_does_not_occur_is_refused(many, options, message):
    with pytest.raises(UsageError, match=message):
        select(many, **options)


def test_nothing_left_is_refused(tmp_path, cache):
    with pytest.raises(UsageError, match="no entry fits"):
        select(read(tmp_path, cache, "m", plant_video(cache, "a", 0)), balance=True)


def test_picture_folders_have_no_attributes_and_still_count(tmp_path, cache):
    plant_pictures(tmp_path, "set/one")
    manifest = read(tmp_path, cache, "m", Entry("set/one", 1))
    assert count(manifest) == [("set", "none", "unknown", 1, 1)]

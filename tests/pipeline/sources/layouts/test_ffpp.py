"""FaceForensics++: pairs, keys, splits, old and nested trees, and what a damaged tree lacks."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.support.trees import METHODS, SMALL, by_key, find, keys, plant, plant_ffpp, plant_json
from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import Video
from unmask.pipeline.sources.audit import audit
from unmask.pipeline.sources.layouts.ffpp import STRADDLING, shared_sources
from unmask.testing.datasets import DatasetTests


@pytest.fixture
def small(tmp_path):
    return plant_ffpp(tmp_path / "FaceForensics++", SMALL)


def test_every_field_of_a_real_and_a_fake(small):
    plant(small, "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4")
    found = by_key(find("ffpp", small))
    assert found["youtube/c23/000"] == Video(
        dataset="ffpp",
        key="youtube/c23/000",
        video_id="youtube-c23-000",
        path=small / "original_sequences/youtube/c23/videos/000.mp4",
        label=0,
        method="real",
        compression="c23",
        split="test",
        split_origin="official",
        target="000",
        source=None,
        pair=None,
        group="000_003",
        mask=None,
        video_fake=False,
        audio_fake=None,
        fake_spans=(),
    )
    assert found["Deepfakes/c23/000_003"] == Video(
        dataset="ffpp",
        key="Deepfakes/c23/000_003",
        video_id="Deepfakes-c23-000_003",
        path=small / "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4",
        label=1,
        method="Deepfakes",
        compression="c23",
        split="test",
        split_origin="official",
        target="000",
        source="003",
        pair="youtube/c23/000",
        group="000_003",
        mask=small / "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4",
        video_fake=True,
        audio_fake=None,
        fake_spans=(),
    )


def test_a_pair_of_the_list_is_two_reals_and_two_fakes_per_method(small):
    dataset = find("ffpp", small)
    one_pair = {key for key, video in by_key(dataset).items() if video.group == "054_071"}
    assert one_pair == {"youtube/c23/071", "youtube/c23/054"} | {
        f"{method}/c23/{stem}" for method in METHODS for stem in ("071_054", "054_071")
    }


def test_one_stem_in_four_methods_gives_four_videos(small):
    same = [video for video in find("ffpp", small).videos if video.key.endswith("/000_003")]
    assert len({video.key for video in same}) == len({video.video_id for video in same}) == 4


@pytest.mark.parametrize(
    ("asked", "folder"), [("raw", "c0"), ("raw", "raw"), ("c0", "raw"), ("c40", "c40")]
)
def test_compressions_and_their_old_name(tmp_path, asked, folder):
    root = plant_ffpp(tmp_path, SMALL, compression=folder)
    dataset = find("ffpp", root, compression=asked)
    expected = "raw" if asked in ("raw", "c0") else asked
    assert {video.compression for video in dataset.videos} == {expected} and not dataset.missing
    assert f"youtube/{expected}/000" in keys(dataset.videos)


def test_old_tree_without_the_youtube_level(small):
    base = small / "original_sequences"
    shutil.move(base / "youtube" / "c23", base / "c23")
    (base / "youtube").rmdir()
    dataset = find("ffpp", small)
    assert not dataset.missing and len(dataset.videos) == 8 + 4 * 8


@pytest.mark.parametrize("root", ["outer", "outer/FaceForensics++"])
def test_a_folder_around_and_a_level_inside_change_nothing(tmp_path, root):
    small = plant_ffpp(tmp_path / "outer" / "FaceForensics++", SMALL)
    for leaf in small.glob("*/*/c23/videos"):
        leaf.rename(leaf.with_name("v"))
        leaf.mkdir()
        (leaf.with_name("v")).rename(leaf / "videos")
    dataset = find("ffpp", tmp_path / root)
    assert not dataset.missing and not dataset.unlisted and len(dataset.videos) == 40


@pytest.mark.parametrize("place", ["splits", "dataset/splits", "elsewhere"])
def test_split_lists_are_found_where_people_put_them(small, tmp_path, place):
    target = (tmp_path / place) if place == "elsewhere" else small / place
    target.mkdir(parents=True)
    for split in SMALL:
        shutil.move(small / f"{split}.json", target)
    dataset = find("ffpp", small, splits=target if place == "elsewhere" else None)
    assert Counter(video.split for video in dataset.videos) == {"train": 20, "val": 10, "test": 10}


def test_pre_extracted_frames_are_read_as_videos(small):
    leaf = small / "manipulated_sequences/FaceSwap/c23"
    shutil.rmtree(leaf / "videos")
    plant(
        leaf, *(f"frames/{stem}/{n:03d}.png" for stem in ("000_003", "003_000") for n in range(3))
    )
    found = by_key(find("ffpp", small))
    assert found["FaceSwap/c23/000_003"].path == leaf / "frames" / "000_003"
    lost = keys(find("ffpp", small).missing)
    assert len(lost) == 6 and all(key.startswith("FaceSwap/") for key in lost)


def test_moved_masks_are_found_and_face_shifter_has_none(small):
    plant(small, "manipulated_sequences/FaceSwap/c23/masks/000_003.mp4")
    found = by_key(find("ffpp", small))
    assert (
        found["FaceSwap/c23/000_003"].mask
        == small / "manipulated_sequences/FaceSwap/c23/masks/000_003.mp4"
    )
    assert found["Face2Face/c23/000_003"].mask is None


def test_face_shifter_comes_when_asked_for_and_is_mentioned_otherwise(small):
    plant_ffpp(small, SMALL, methods=("FaceShifter",))
    plain, five = find("ffpp", small), find("ffpp", small, methods=("all",))
    assert len(plain.videos) == 40 and any("FaceShifter" in note for note in plain.notes)
    assert len(five.videos) == 48


def test_short_method_names_and_a_typo(small):
    assert {v.method for v in find("ffpp", small, methods=("df", "neuraltextures")).videos} == {
        "real", "Deepfakes", "NeuralTextures",
    }  # fmt: skip
    with pytest.raises(UsageError, match="did you mean 'Deepfakes'"):
        find("ffpp", small, methods=("Deepfake",))


def test_without_lists_it_says_where_it_looked(small):
    (small / "val.json").unlink()
    with pytest.raises(
        UsageError,
        match=r"train\.json, val\.json and test\.json.*dataset/splits.*--splits.*--split-ratio",
    ):
        find("ffpp", small)


def test_a_tree_without_any_list_takes_the_official_ones_that_ship(small, media):
    for split in SMALL:
        (small / f"{split}.json").unlink()
    dataset = find("ffpp", small)
    found = {video.key: (video.split, video.split_origin) for video in dataset.videos}
    wanted = {}
    for split, pairs in official(media).items():
        for a, b in pairs:
            for name in (a, b):
                wanted[f"youtube/c23/{name}"] = (split, "official")
    reals = {key: value for key, value in found.items() if key.startswith("youtube/")}
    # 071/054 and 087/081 are official training pairs, 720/672 is of val, 000/003 of test.
    assert reals == {key: wanted[key] for key in reals} and len(reals) == 8
    assert len(dataset.videos) + len(dataset.missing) == 5000
    assert any("come with unmask" in note for note in dataset.notes)


def test_another_compression_than_the_one_asked_for_is_named_with_its_option(tmp_path):
    root = plant_ffpp(tmp_path, SMALL, compression="raw")
    with pytest.raises(UsageError, match=r"no videos of c23 .* raw is there: --compression raw"):
        find("ffpp", root)


def test_a_folder_given_with_splits_is_never_filled_up(small, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"train\.json, val\.json and test\.json"):
        find("ffpp", small, splits=tmp_path / "empty")


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ([["071", "054"], ["071", "054"]], r"train\.json', entry 2: id '071'.*entry 1"),
        ([["071", "054"], ["054", "071"]], r"train\.json', entry 2: id '054'.*entry 1"),
        (
            [["071", "054"], ["003", "087"]],
            r"test\.json', entry 1: id '003'.*train\.json', entry 2",
        ),
    ],
)
def test_an_id_in_two_pairs_is_refused_with_both_places(small, train, said):
    plant_json(small / "train.json", train)
    with pytest.raises(UsageError, match=said):
        find("ffpp", small)


def test_a_list_nested_a_hundred_thousand_deep_is_refused_by_name(small):
    (small / "train.json").write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(UsageError, match=r"train\.json' is not readable JSON"):
        find("ffpp", small)


@pytest.mark.parametrize(
    "content", [[], {}, [["1", "2"]], [["000"]], [["000", 1]], "x", [["000", "001", "002"]]]
)
def test_a_list_that_is_no_list_of_pairs_is_refused_by_name(small, content):
    plant_json(small / "val.json", content)
    with pytest.raises(UsageError, match=r"val\.json.*(pair|list)"):
        find("ffpp", small)


def test_own_split_keeps_connected_ids_together(small):
    plant(small, "manipulated_sequences/Deepfakes/c23/videos/000_054.mp4")
    dataset = find("ffpp", small, split_ratio=(0.5, 0.25, 0.25))
    of = {v.target: v.split for v in dataset.videos if v.label == 0}
    assert of["000"] == of["003"] == of["054"] == of["071"]
    assert all(of[v.target] == of[v.source] == v.split for v in dataset.videos if v.source)
    assert {v.split_origin for v in dataset.videos} == {"derived"}
    assert any("not comparable" in note for note in dataset.notes)


def test_files_no_list_names_and_rubbish_are_told_apart(small):
    plant(
        small / "original_sequences/youtube/c23/videos",
        "999.mp4",
        ".DS_Store",
        "._000.mp4",
        "001.mp4.part",
        "tmpx1",
    )
    dataset = find("ffpp", small)
    assert dataset.unlisted == ("original_sequences/youtube/c23/videos/999.mp4",)
    assert sorted(why for _, why in dataset.ignored) == [
        "file of the operating system",
        "file of the operating system",
        "not media (no extension)",
        "unfinished download",
    ]


@pytest.mark.parametrize("around", ["", "FaceForensics++_C23"])
@pytest.mark.parametrize("reals", ["original", "real"])
def test_public_copies_with_the_methods_side_by_side_give_the_same_videos(
    small, tmp_path, around, reals
):
    wanted = find("ffpp", small)
    copy = tmp_path / "copy" / around
    for video in wanted.videos:
        folder = reals if video.label == 0 else video.method
        plant(copy / folder, video.path.name)
    for split in SMALL:
        (copy / f"{split}.json").write_text(json.dumps(SMALL[split]))
    dataset = find("ffpp", tmp_path / "copy")
    facts = [(v.key, v.label, v.split, v.group, v.pair, v.compression) for v in dataset.videos]
    assert facts == [
        (v.key, v.label, v.split, v.group, v.pair, v.compression) for v in wanted.videos
    ]
    assert not dataset.unlisted and not dataset.missing
    assert any("taken for c23" in note for note in dataset.notes) == (not around)
    if around:
        with pytest.raises(UsageError, match=r"called c23, raw was asked for.*--compression c23"):
            find("ffpp", tmp_path / "copy", compression="raw")


def official(media: Path) -> dict[str, list[list[str]]]:
    return {
        split: json.loads((media / "ffpp_splits" / f"{split}.json").read_text()) for split in SMALL
    }


@pytest.fixture(scope="module")
def whole(media, tmp_path_factory):
    """The official tree of all 5,000 videos."""
    return plant_ffpp(tmp_path_factory.mktemp("ffpp"), official(media))


def test_official_lists_give_720_140_140_reals_and_as_many_fakes_per_method(whole):
    dataset = find("ffpp", whole)
    counts = Counter((video.split, video.method) for video in dataset.videos)
    assert counts == {
        (split, method): number
        for split, number in {"train": 720, "val": 140, "test": 140}.items()
        for method in ("real", *METHODS)
    }
    assert len({v.video_id for v in dataset.videos}) == 5000
    assert audit(dataset).ok


def test_no_identity_is_in_two_splits_but_the_seven_known_source_videos_are(whole, media):
    dataset = find("ffpp", whole)
    split_of = {v.target: v.split for v in dataset.videos if v.label == 0}
    assert all(
        split_of[v.target] == split_of[v.source] == v.split for v in dataset.videos if v.label == 1
    )
    straddling = {
        frozenset(p)
        for p in shared_sources(whole, media / "ffpp_splits")
        if len({split_of[i] for i in p}) == 2
    }
    assert straddling == {frozenset(pair) for pair in STRADDLING}
    assert any("7 source videos" in note and "605|606" in note for note in dataset.notes)


def test_strict_drops_the_training_pairs_of_the_seven(whole):
    dataset = find("ffpp", whole, strict=True)
    split_of = {v.target: v.split for v in dataset.videos if v.label == 0}
    assert all(len({split_of.get(a), split_of.get(b)} - {None}) < 2 for a, b in STRADDLING)
    assert Counter(v.split for v in dataset.videos if v.label == 0) == {
        "train": 706,
        "val": 140,
        "test": 140,
    }
    assert not dataset.missing and not dataset.unlisted


def test_verify_reports_exactly_what_a_damaged_tree_lacks(whole):
    gone = [
        "original_sequences/youtube/c23/videos/000.mp4",
        "manipulated_sequences/FaceSwap/c23/videos/071_054.mp4",
    ]
    empty = whole / "manipulated_sequences/Deepfakes/c23/videos/054_071.mp4"
    try:
        for name in gone:
            (whole / name).unlink()
        empty.write_bytes(b"")
        plant(whole, "original_sequences/youtube/c23/videos/1000.mp4")
        report = audit(find("ffpp", whole))
    finally:
        plant(whole, *gone, empty.relative_to(whole).as_posix())
        (whole / "original_sequences/youtube/c23/videos/1000.mp4").unlink()
    assert sorted(report.missing) == ["FaceSwap/c23/071_054", "youtube/c23/000"]
    assert report.unreadable == [("Deepfakes/c23/054_071", "zero bytes")]
    assert report.unlisted == ["original_sequences/youtube/c23/videos/1000.mp4"]
    off = {
        (r.split, r.method): (r.expected, r.found, r.missing, r.unreadable)
        for r in report.rows
        if r.missing or r.unreadable
    }
    assert off == {
        ("test", "real"): (140, 139, 1, 0),
        ("train", "FaceSwap"): (720, 719, 1, 0),
        ("train", "Deepfakes"): (720, 720, 0, 1),
    }
    assert not report.ok


class TestShared(DatasetTests):
    dataset_name = "ffpp"

    @pytest.fixture
    def tree(self, small):
        return small

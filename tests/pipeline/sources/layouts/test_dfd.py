"""DFD: names are read from the double underscores, pairs repeat, no official split."""

from __future__ import annotations

import pytest

from tests.support.trees import by_key, find, keys, plant
from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import Video
from unmask.pipeline.sources.audit import audit
from unmask.testing.datasets import DatasetTests

REALS = "original_sequences/actors/c23/videos"
FAKES = "manipulated_sequences/DeepFakeDetection/c23/videos"
SCENE = "walking_and_outside_surprised"


@pytest.fixture
def root(tmp_path):
    plant(
        tmp_path / REALS,
        f"01__{SCENE}.mp4",
        "02__talking_against_wall.mp4",
        "27__hugging_happy.mp4",
    )
    plant(
        tmp_path / FAKES,
        f"01_02__{SCENE}__YVGY8LOK.mp4",
        f"01_02__{SCENE}__A1OSUJE9.mp4",
        "02_27__talking_against_wall__ABCDEFGH.mp4",
    )
    return plant(
        tmp_path,
        f"manipulated_sequences/DeepFakeDetection/masks/videos/01_02__{SCENE}__YVGY8LOK.mp4",
    )


def test_every_field(root):
    found = by_key(find("dfd", root))
    assert found[f"DeepFakeDetection/c23/01_02__{SCENE}__YVGY8LOK"] == Video(
        dataset="dfd",
        key=f"DeepFakeDetection/c23/01_02__{SCENE}__YVGY8LOK",
        video_id=f"DeepFakeDetection-c23-01_02__{SCENE}__YVGY8LOK",
        path=root / FAKES / f"01_02__{SCENE}__YVGY8LOK.mp4",
        label=1,
        method="DeepFakeDetection",
        compression="c23",
        split="test",
        split_origin="all-test",
        target="01",
        source="02",
        pair=f"actors/c23/01__{SCENE}",
        group="01",
        mask=root
        / f"manipulated_sequences/DeepFakeDetection/masks/videos/01_02__{SCENE}__YVGY8LOK.mp4",
        video_fake=True,
    )
    assert found[f"actors/c23/01__{SCENE}"] == Video(
        dataset="dfd",
        key=f"actors/c23/01__{SCENE}",
        video_id=f"actors-c23-01__{SCENE}",
        path=root / REALS / f"01__{SCENE}.mp4",
        label=0,
        method="real",
        compression="c23",
        split="test",
        split_origin="all-test",
        target="01",
        group="01",
        video_fake=False,
    )


def test_two_swaps_of_one_pair_are_two_videos_with_one_original(root):
    twins = [v for v in find("dfd", root).videos if v.pair == f"actors/c23/01__{SCENE}"]
    assert len(twins) == 2 and len({v.video_id for v in twins}) == 2


def test_split_by_target_actor_tells_or_drops_crossing_donors(tmp_path):
    actors = [f"{n:02d}" for n in range(1, 9)]
    plant(tmp_path / REALS, *(f"{a}__scene.mp4" for a in actors))
    plant(
        tmp_path / FAKES,
        *(f"{a}_{b}__scene__ABCDEFGH.mp4" for a in actors for b in actors if a != b),
    )
    ratio = (0.5, 0.25, 0.25)
    loose, strict = (
        find("dfd", tmp_path, split_ratio=ratio),
        find("dfd", tmp_path, split_ratio=ratio, strict=True),
    )
    of = {v.target: v.split for v in loose.videos if v.label == 0}
    assert sorted(of.values()) == ["test"] * 2 + ["train"] * 4 + ["val"] * 2
    assert all(v.split == of[v.target] for v in loose.videos)
    inside = 4 * 3 + 2 * 1 + 2 * 1
    assert any(
        f"{8 * 7 - inside} fakes show a donor of another split" in note for note in loose.notes
    )
    fakes = [v for v in strict.videos if v.label == 1]
    assert len(fakes) == inside and all(of[v.source] == of[v.target] for v in fakes)


def test_names_without_the_grammar_are_unlisted_and_counts_are_checked(root):
    plant(root, f"{FAKES}/odd.mp4", f"{FAKES}/01_02__scene__SHORT.mp4")
    dataset = find("dfd", root)
    assert [path.rpartition("/")[2] for path in dataset.unlisted] == [
        "01_02__scene__SHORT.mp4",
        "odd.mp4",
    ]
    report = audit(dataset)
    assert (
        "reals: 363 published, 3 found" in report.faults
        and "fakes: 3068 published, 3 found" in report.faults
    )


@pytest.mark.parametrize(
    ("reals", "fakes"),
    [
        ("DFD_original sequences", "DFD_manipulated_sequences/DFD_manipulated_sequences"),
        ("dfd/DFD_original_sequences", "dfd/DFD_manipulated_sequences"),
        ("actors", "DeepFakeDetection"),
    ],
)
def test_public_copies_with_two_folders_side_by_side_give_the_same_videos(
    root, tmp_path_factory, reals, fakes
):
    wanted = find("dfd", root)
    copy = tmp_path_factory.mktemp("copy")
    for video in wanted.videos:
        plant(copy / (fakes if video.label else reals), video.path.name)
    found = find("dfd", copy)
    assert [(v.key, v.label, v.group, v.pair) for v in found.videos] == [
        (v.key, v.label, v.group, v.pair) for v in wanted.videos
    ]
    assert found.videos and not found.unlisted
    assert any("taken for c23" in note for note in found.notes)


def test_a_copy_that_is_called_by_another_compression_is_refused(tmp_path):
    plant(tmp_path / "dfd_c40" / "DFD_original sequences", f"01__{SCENE}.mp4")
    with pytest.raises(UsageError, match=r"dfd: .*called c40, c23 was asked for"):
        find("dfd", tmp_path)


def test_the_ffpp_videos_of_a_shared_root_are_not_dfd(root):
    plant(
        root,
        "original_sequences/youtube/c23/videos/000.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4",
    )
    assert all(
        key.startswith(("actors", "DeepFakeDetection")) for key in keys(find("dfd", root).videos)
    )


class TestShared(DatasetTests):
    dataset_name = "dfd"

    @pytest.fixture
    def tree(self, root):
        return root

"""What a dataset's layout must do to be extracted like unmask's own: subclass DatasetTests.

from unmask.testing.datasets import DatasetTests

class TestClipBox(DatasetTests):
    dataset_name = "clipbox"

    def plant(self, root):      # a miniature of the tree: one-byte files are enough
        ...
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import ClassVar

import pytest

from unmask.pipeline.errors import UsageError
from unmask.pipeline.records import FAKE, REAL, SPLITS
from unmask.pipeline.sources.dataset import Dataset, SourceOptions
from unmask.pipeline.sources.registry import discover, resolve

WORDS = ("title", "kind", "size", "access", "licence", "tasks", "tree", "labels", "splits")
SAFE_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")


class DatasetTests:
    """dataset_name: what `--dataset` takes. `plant` writes a miniature with at least one real and
    one fake video under `root`. `options` are what `discover` is asked.
    """

    dataset_name: ClassVar[str]
    options: ClassVar[SourceOptions] = SourceOptions()

    def plant(self, root: Path) -> None:
        raise NotImplementedError("write a miniature of the dataset's tree")

    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        root = tmp_path / "tree"
        root.mkdir()
        self.plant(root)
        return root

    @pytest.fixture
    def found(self, tree: Path) -> Dataset:
        return discover(self.dataset_name, tree, self.options)

    def test_it_is_known_by_every_name_and_says_everything_about_itself(self) -> None:
        source = resolve(self.dataset_name)
        assert all(getattr(source, word).strip() for word in WORDS)
        for word in (source.name, *source.aliases):
            assert resolve(word).name == source.name

    def test_videos_are_labelled_and_sorted_with_safe_unique_ids(self, found: Dataset) -> None:
        assert {video.label for video in found.videos} == {REAL, FAKE}
        ids = [video.video_id for video in found.videos]
        assert len(set(ids)) == len(ids) and all(map(SAFE_ID.fullmatch, ids))
        keys = [video.key for video in found.videos]
        assert len(set(keys)) == len(keys)
        for video in found.videos:
            assert video.dataset == found.name
            # A real picture may still have a method: that of its forged sound.
            assert video.method and (video.label == REAL or video.method != "real")
            assert video.split in (*SPLITS, "none")

    def test_every_video_lies_where_it_is_said_to(self, found: Dataset) -> None:
        for video in found.videos:
            assert video.path.is_absolute() and video.path.exists()
        assert not any(video.path.exists() for video in found.missing)

    def test_no_leakage_group_lies_in_two_derived_splits(self, found: Dataset) -> None:
        splits: dict[str, set[str]] = {}
        for video in found.videos:
            if video.group and video.split_origin == "derived":
                splits.setdefault(video.group, set()).add(video.split)
        assert all(len(names) == 1 for names in splits.values())

    def test_a_fakes_original_is_a_real_video_of_the_dataset(self, found: Dataset) -> None:
        label = {video.key: video.label for video in (*found.videos, *found.missing)}
        for video in found.videos:
            assert label.get(video.pair or "", REAL) == REAL

    def test_finding_again_finds_the_same_wherever_the_root_lies(
        self, found: Dataset, tree: Path, tmp_path: Path
    ) -> None:
        assert discover(self.dataset_name, tree, self.options) == found
        moved = tmp_path / "elsewhere" / tree.name
        shutil.copytree(tree, moved)
        again = discover(self.dataset_name, moved, self.options)
        assert [video.video_id for video in again.videos] == [v.video_id for v in found.videos]
        assert [video.split for video in again.videos] == [v.split for v in found.videos]

    def test_discovering_opens_no_video(self, tree: Path, found: Dataset) -> None:
        for video in found.videos:
            if video.path.is_file():
                os.chmod(video.path, 0)
        assert discover(self.dataset_name, tree, self.options) == found

    def test_an_absent_and_an_empty_root_are_one_clear_line(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for name in ("absent", "empty"):
            with pytest.raises(UsageError) as caught:
                discover(self.dataset_name, tmp_path / name, self.options)
            assert "\n" not in str(caught.value)

"""Groups stay whole, shares are kept, every split gets both labels, and one more video moves few
others.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.pipeline.errors import UsageError
from unmask.pipeline.sources.splits import check_ratio, joined_groups, split_groups

RATIO = (0.7, 0.15, 0.15)


def test_shares_are_kept_within_one_group_per_label():
    groups = {f"r{n}": [0] for n in range(200)} | {f"f{n}": [1] for n in range(100)}
    splits = split_groups(groups, RATIO, 1)
    assert Counter(splits[g] for g in groups if g[0] == "r") == {
        "train": 140,
        "val": 30,
        "test": 30,
    }
    assert Counter(splits[g] for g in groups if g[0] == "f") == {"train": 70, "val": 15, "test": 15}


def test_three_groups_fill_three_splits():
    assert set(split_groups({"a": [0], "b": [0], "c": [0]}, RATIO, 1).values()) == {
        "train",
        "val",
        "test",
    }


def test_seed_decides_and_order_does_not():
    groups = {f"g{n}": [n % 2] for n in range(60)}
    again = dict(reversed(groups.items()))
    assert split_groups(groups, RATIO, 1) == split_groups(again, RATIO, 1)
    assert split_groups(groups, RATIO, 1) != split_groups(groups, RATIO, 2)


def test_an_empty_share_gets_nothing():
    groups = {f"g{n}": [0, 1] for n in range(20)}
    assert set(split_groups(groups, (0.8, 0.2, 0.0), 3).values()) == {"train", "val"}


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=5), st.lists(st.sampled_from([0, 1]), min_size=1), min_size=1
    )
)
def test_every_group_gets_exactly_one_split(groups):
    assert split_groups(groups, RATIO, 1).keys() == groups.keys()


@pytest.mark.parametrize("ratio", [(0.5, 0.5), (0.5, 0.6, -0.1), (1, 1, 1), (0.7, 0.2, 0.2), ()])
def test_a_ratio_that_does_not_make_one_is_refused(ratio):
    with pytest.raises(UsageError, match="three shares"):
        check_ratio(ratio)


def test_connected_nodes_share_the_smallest_name():
    assert joined_groups([("b", "a"), ("c", "b"), ("x", "y"), ("z", "z")]) == {
        "a": "a", "b": "a", "c": "a", "x": "x", "y": "x", "z": "z",
    }  # fmt: skip

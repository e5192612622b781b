"""Weight files of Keras: read in memory, in their own order, and nothing beyond themselves."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tests.support.keras_files import random_meso4, write_keras
from unmask.pipeline.errors import CheckpointError
from unmask.pipeline.zoo.keras_file import read_layers


def test_layers_come_in_the_files_order_with_their_arrays(tmp_path) -> None:
    layers = random_meso4()
    path = write_keras(tmp_path / "w.h5", layers)
    found = read_layers(path.read_bytes(), "w.h5")
    assert [(one.kind, one.number) for one in found][:3] == [
        ("conv2d", 5),
        ("batch_normalization", 5),
        ("conv2d", 6),
    ]
    expected = [arrays for arrays in layers.values() if arrays]
    for one, arrays in zip(found, expected, strict=True):
        for array, known in zip(one.arrays, arrays.values(), strict=True):
            np.testing.assert_array_equal(array, known)


def test_a_file_cannot_name_other_files(tmp_path) -> None:
    secret = write_keras(tmp_path / "secret.h5", {"dense_1": {"kernel:0": np.ones(3, np.float32)}})
    raw = tmp_path / "raw"
    raw.write_bytes(bytes(12))
    path = tmp_path / "w.h5"

    def written(link: object) -> bytes:
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [b"dense_1"]
            group = file.create_group("dense_1")
            group.attrs["weight_names"] = [b"kernel:0"]
            if link == "external data":
                group.create_dataset("kernel:0", (3,), np.float32, external=[(str(raw), 0, 12)])
            else:
                group["kernel:0"] = link
        return path.read_bytes()

    for link in (h5py.ExternalLink(str(secret), "dense_1/dense_1/kernel:0"), "external data"):
        with pytest.raises(CheckpointError, match=r"w.h5: not readable as weights of Keras"):
            read_layers(written(link), "w.h5")


@pytest.mark.parametrize("data", [b"", b"\x89HDF\r\n\x1a\n" + bytes(100), b"PK\x03\x04"])
def test_what_is_no_such_file_is_one_line(data) -> None:
    with pytest.raises(CheckpointError, match=r"x.h5: not readable as weights of Keras") as caught:
        read_layers(data, "x.h5")
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_one_line_wherever_it_is_damaged(tmp_path) -> None:
    data = write_keras(tmp_path / "w.h5", random_meso4()).read_bytes()
    for place in range(0, len(data), 4001):
        broken = data[:place] + bytes(200) + data[place + 200 :]
        try:
            read_layers(broken, "w.h5")
        except CheckpointError as error:
            assert "\n" not in str(error)

"""Run folders: numbered, read back as written, and foreign or damaged descriptions refused by
field.
"""

import json
from pathlib import Path

import pytest

from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import CheckpointError, UsageError
from unmask.pipeline.runs.newest import (
    RUN_FILE,
    list_runs,
    newest_answering_run,
    newest_run,
)
from unmask.pipeline.runs.run_folder import METRICS, new_run, open_run, write_run
from unmask.pipeline.runs.summary import summary

CONFIG = TrainConfig(
    manifest="m/train.txt", model="stil", options={"frames": 8}, overrides={"lr": 1e-4}
)
FACTS = {
    "manifest": {"sha256": "ab", "key": "k"},
    "device": {"name": "cpu"},
    "recipe": {"lr": 1e-4},
}


def test_runs_are_numbered_and_the_newest_is_the_highest(tmp_path):
    folders = [new_run(tmp_path, "clrnet", Path("manifests/ff pp/c23/train.txt")) for _ in range(3)]
    assert [folder.name for folder in folders] == [f"000{i}-clrnet-ff-pp-c23" for i in (1, 2, 3)]
    for folder in folders[:2]:
        write_run(folder, CONFIG, FACTS)
    assert newest_run(tmp_path) == folders[1]  # the third was never begun
    (tmp_path / "mine").mkdir()
    write_run(tmp_path / "mine", CONFIG, FACTS)
    assert [folder.name for folder in list_runs(tmp_path)] == [
        folders[1].name,
        folders[0].name,
        "mine",
    ]


def test_the_newest_run_that_can_answer_has_a_checkpoint_of_the_kind(tmp_path):
    for number in (1, 2, 3, 4):
        folder = tmp_path / f"000{number}-clrnet-x"
        folder.mkdir()
        write_run(folder, CONFIG, FACTS)
    with pytest.raises(UsageError, match=r"no run here has a checkpoint.*0004-clrnet-x"):
        newest_answering_run(tmp_path)
    (tmp_path / "0002-clrnet-x" / "checkpoints" / "best-00000007").mkdir(parents=True)
    (tmp_path / "0003-clrnet-x" / "checkpoints" / "step-00000007").mkdir(parents=True)
    assert newest_answering_run(tmp_path).name == "0002-clrnet-x"
    assert newest_answering_run(tmp_path, "last").name == "0003-clrnet-x"
    with pytest.raises(UsageError, match="no training run here"):
        newest_answering_run(tmp_path / "none")


def test_no_run_is_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="no training run here"):
        newest_run(tmp_path / "none")


def test_a_run_reads_back_as_it_was_written(tmp_path):
    write_run(tmp_path, CONFIG, FACTS)
    run = open_run(tmp_path)
    assert (run.config, run.model, run.options, run.key, run.manifest_sha256) == (
        CONFIG,
        "stil",
        {"frames": 8},
        "k",
        "ab",
    )
    assert run.document["versions"]["torch"]


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda d: d["config"].update(speed=3), "field 'config.speed'"),
        (lambda d: d["config"].update(seed="1"), "config.seed is '1'"),
        (lambda d: d["config"].update(seed=True), "config.seed is True"),
        (lambda d: d["config"].update(device="tpu"), "config.device is 'tpu'"),
        (lambda d: d["config"].update(options=[]), r"config.options is \[\]"),
        (lambda d: d.update(format=9), "format 9"),
        (lambda d: d.pop("config"), "no 'config'"),
    ],
)
def test_a_foreign_description_is_refused_by_field(tmp_path, change, words):
    write_run(tmp_path, CONFIG, FACTS)
    document = json.loads((tmp_path / RUN_FILE).read_text())
    change(document)
    (tmp_path / RUN_FILE).write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=words):
        open_run(tmp_path)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path, data):
    (tmp_path / RUN_FILE).write_bytes(data)
    with pytest.raises(CheckpointError):
        open_run(tmp_path)


def test_the_table_row_takes_the_best_epoch_and_survives_a_half_written_line(tmp_path):
    write_run(tmp_path, CONFIG, FACTS)
    lines = [
        {"kind": "step", "step": 1, "loss": 0.7},
        {"kind": "epoch", "epoch": 1, "step": 1, "auc": 0.9, "log_loss": 0.4},
        {"kind": "step", "step": 2, "loss": None},
        {"kind": "epoch", "epoch": 2, "step": 2, "auc": 0.9, "log_loss": 0.3},
        {"kind": "epoch", "epoch": 3, "step": 3, "auc": None, "log_loss": None},
    ]
    (tmp_path / METRICS).write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "st'
    )
    row = summary(tmp_path)
    assert (row["auc"], row["best_epoch"], row["steps"], row["epochs"], row["loss"]) == (
        0.9,
        2,
        3,
        3,
        0.7,
    )

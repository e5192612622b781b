"""Devices and processes: what torchrun sets, and what several processes on CPUs cannot do."""

from __future__ import annotations

import pytest
from torch.distributed.run import get_args_parser

from unmask.commands.main import main
from unmask.pipeline.config import TrainConfig
from unmask.pipeline.errors import UsageError
from unmask.pipeline.training.fabric import build_fabric


@pytest.mark.parametrize("word", ["abc", "", "0", "-2", "1.5", "9" * 30, "\u0663"])
@pytest.mark.parametrize("name", ["LOCAL_WORLD_SIZE", "WORLD_SIZE"])
def test_a_wrong_number_of_processes_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, word: str
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setenv(name, word)
    with pytest.raises(UsageError, match=f"the environment has {name}="):
        build_fabric(TrainConfig(device="cpu"))


def test_statistics_over_gpus_are_refused_on_cpus_before_any_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="--sync-norm shares batch statistics between GPUs"):
        build_fabric(TrainConfig(device="cpu", devices=2, sync_norm=True))
    build_fabric(TrainConfig(device="cpu", sync_norm=True))  # one process: nothing to share
    words = ["--device", "cpu", "--devices", "2", "--sync-norm", "--manifest", "nowhere.txt"]
    assert main(["train", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_documented_form_of_torchrun_passes_run_on_to_train() -> None:
    words = ["--nproc-per-node", "2", "--", "cli.py", "train", "--run", "runs/two-gpus"]
    parsed = get_args_parser().parse_args(words)
    assert parsed.training_script == "cli.py"
    assert parsed.training_script_args == ["train", "--run", "runs/two-gpus"]
    assert parsed.run_path is False

"""The open detector: who is where, what its card says, and the road itself on drawn faces."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import cv2
import pytest
import torch

from benchmarks import open_attempts, open_detector
from benchmarks.open_detector import Road, faces_in, main, plant, split_of
from unmask.models import create_model, typed_options
from unmask.models.recipes.recipes import get_recipe, parse_overrides
from unmask.pipeline.clips.augment import build_augment
from unmask.pipeline.demo.drawing import draw_frames, draw_identity
from unmask.pipeline.errors import UsageError


def drawn_faces(folder: Path, people: int = 16) -> Path:
    folder.mkdir()
    lines = ["file,identity,source,licence"]
    for number in range(people):
        for turn in range(2):
            ((picture, _), *_) = draw_frames(
                draw_identity(number), 1, (240, 240), seed=turn, face=0.6
            )
            name = f"p{number}_{turn}.jpg"
            cv2.imwrite(str(folder / name), picture[:, :, ::-1])
            lines.append(f"{name},person{number},drawn,none needed")
    (folder / "faces.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_persons_pictures_stay_in_one_split_whoever_else_is_there(tmp_path) -> None:
    faces = faces_in(drawn_faces(tmp_path / "faces"))
    plant(faces, tmp_path / "faces", tmp_path / "tree")
    found = {
        split: {path.name.split("_")[0] for path in (tmp_path / "tree" / split).rglob("*.jpg")}
        for split in ("train", "val")
    }
    assert found["train"] and found["val"] and not found["train"] & found["val"]
    assert len(found["train"] | found["val"]) == 16
    shares = [split_of(f"somebody {n}") == "val" for n in range(2000)]
    assert 0.11 < sum(shares) / 2000 < 0.18


def test_pictures_without_a_list_are_persons_of_their_own(tmp_path) -> None:
    (tmp_path / "b.PNG").touch()
    (tmp_path / "a.jpg").touch()
    (tmp_path / "notes.txt").touch()
    assert [(f["file"], f["identity"], f["licence"]) for f in faces_in(tmp_path)] == [
        ("a.jpg", "a", "not stated"),
        ("b.PNG", "b", "not stated"),
    ]


def test_mistakes_are_one_line(tmp_path, capsys) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    faces = drawn_faces(tmp_path / "faces", 1)
    assert main([str(faces), "--out", str(tmp_path / "full")]) == 2
    assert "not empty; name another folder" in capsys.readouterr().err
    (tmp_path / "none").mkdir()
    assert main([str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "no pictures" in capsys.readouterr().err


def test_a_road_goes_on_after_what_is_done_and_with_what_was_begun(tmp_path, monkeypatch) -> None:
    ran = []

    def unmask(words: list[str]) -> None:
        ran.append(words)
        if words == ["b"]:
            raise UsageError("stopped")

    monkeypatch.setattr(open_detector, "unmask", unmask)
    road = Road.begun(tmp_path, {"steps": 3})
    road.go("first", ["a", 1])
    with pytest.raises(UsageError, match="stopped"):
        road.go("second", ["b"])
    spent, _ = road.spent()
    again = Road.begun(tmp_path, {"steps": 3})
    assert again.done == ["first"] and 0 < again.cpu_seconds <= spent
    again.go("first", ["a", 1])
    again.go("second", ["b"], ["b", "--resume"])
    assert ran == [["a", "1"], ["b"], ["b", "--resume"]]
    assert again.commands == ["unmask a 1", "unmask b"]
    with pytest.raises(UsageError, match="begun with other faces, steps or --limit"):
        Road.begun(tmp_path, {"steps": 4})


@pytest.mark.slow
def test_the_road_ends_in_a_card_that_names_what_it_was_made_of(tmp_path, monkeypatch) -> None:
    faces = drawn_faces(tmp_path / "faces")
    monkeypatch.chdir(tmp_path)
    cards = []
    for name in ("one", "other"):
        out = tmp_path / name
        words = [str(faces), "--out", str(out), "--steps", "2", "--seeds", "0"]
        if name == "other":  # in two calls: what the first one did is not done again
            assert main(words) == 0
        assert main([*words, "1"]) == 0
        cards.append((out / "card.md").read_text())
        weights = sorted((out / "runs").glob("*/checkpoints/best-*/model.safetensors"))
        cards.append([path.read_bytes() for path in weights])
    text = cards[0]
    assert "| drawn | 32 | none needed |" in text and "16 persons" in text
    for word in ("unmask extract --dataset folder", "--recipe real_only", "AUC over seeds"):
        assert word in text
    assert "Gate: not passed" in text
    assert len(cards[1]) == 2 and cards[1] == cards[3]
    assert re.search(r"[\d,]+ seconds of CPU time, \d+ minutes by the clock", text)
    # the attempts go on from there; what is finished is not done again
    words = [str(tmp_path / "one"), "--epochs", "1", "--only", "baseline", "swap-like"]
    assert open_attempts.main(words) == 0
    table = (tmp_path / "one" / "attempts.md").read_text()
    rows = [line.split("|")[1].strip() for line in table.splitlines() if "| " in line]
    assert rows[-2:] == ["baseline", "swap-like"] and "--set blend.copy=matched,res" in table
    weights = sorted((tmp_path / "one" / "attempts").glob("*/checkpoints/best-*/model.safetensors"))
    before = [path.stat().st_mtime_ns for path in weights]
    assert open_attempts.main(words) == 0
    assert len(before) == 2 and before == [path.stat().st_mtime_ns for path in weights]
    assert open_attempts.main([*words[:2], "2", *words[3:]]) == 2


def test_the_card_counts_pictures_by_source_and_licence() -> None:
    faces = [
        {"file": f"{n}.jpg", "identity": f"p{n % 3}", "source": "s", "licence": "CC0"}
        for n in range(5)
    ]
    text = open_detector.card(Road(Path("out")), faces, [], "", False)
    assert "| s | 5 | CC0 |" in text and "3 persons" in text
    assert "Not measured: no --clips." in text and "Gate: not passed" in text


@pytest.mark.parametrize("name", open_attempts.ATTEMPTS)
def test_every_attempt_is_words_that_train_takes_and_changes_the_recipe(name: str) -> None:
    words = open_attempts.ATTEMPTS[name]
    options = [value for kind, value in pairwise(words) if kind == "--option"]
    changes = [value for kind, value in pairwise(words) if kind == "--set"]
    assert 2 * (len(options) + len(changes)) == len(words)
    plain = get_recipe("lite", "real_only")
    recipe = get_recipe("lite", "real_only", parse_overrides(changes))
    assert (recipe != plain) == bool(changes) and recipe.balance == "self"
    build_augment(recipe.augment, 160)
    with torch.device("meta"):
        size = create_model("lite", **typed_options("lite", options)).spec.size
    assert size == (224 if name == "size-224" else 160)


def test_attempts_need_what_the_open_detector_left(tmp_path, capsys) -> None:
    assert open_attempts.main([str(tmp_path)]) == 2
    assert "not a folder that `make open-detector` left" in capsys.readouterr().err
    assert open_attempts.main([str(tmp_path), "--only", "luck"]) == 2
    assert "no attempt 'luck'; there are baseline," in capsys.readouterr().err

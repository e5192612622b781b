"""Audits of real files and caches, by the commands."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.support.cached_folders import plant_video, write
from tests.support.drawn_videos import Recipe, write_video
from tests.support.tiny_cache import make_cache
from unmask.commands.main import main
from unmask.pipeline.config import Limits
from unmask.pipeline.errors import ManifestError
from unmask.pipeline.manifests.checked import read_manifest
from unmask.pipeline.records import Video
from unmask.pipeline.scores.csv_file import read_scores
from unmask.pipeline.shortcuts.page import beside_manifest, read_summary
from unmask.pipeline.shortcuts.protocol import audit
from unmask.pipeline.shortcuts.signals import of_dataset, of_manifest, ring_of
from unmask.pipeline.sources.dataset import Dataset


@pytest.fixture
def leaking(tmp_path: Path) -> tuple[Path, Path]:
    """24 cached pairs whose fakes have another frame rate."""
    entries = []
    for pair in range(24):
        for label in (0, 1):
            media = {"fps": 25.0 + 5 * label, "frames": 100 + pair, "width": 640, "height": 480}
            name, box = f"{'rf'[label]}{pair}", [[200.0 + pair, 100.0, 300.0 + pair, 220.0]]
            made = plant_video(
                tmp_path / "cache", name, label, group=f"g{pair}", video_id=name,
                media=media, box=box,
            )  # fmt: skip
            entries.append(made)
    return tmp_path / "cache", write(tmp_path / "test.txt", *entries)


def test_a_manifest_is_audited_and_the_answer_lies_beside_it(leaking, capsys) -> None:
    cache, manifest = leaking
    words = ["manifest", "audit", str(manifest), "--cache", str(cache), "--no-boosting"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "frame rate, length gives the label away" in shown and "grade: broken" in shown
    assert main([*words, "--strict", "--out", str(manifest.with_name("strict"))]) == 4
    summary = read_summary(manifest)
    assert (summary.grade, summary.families, summary.videos) == ("broken", ("time",), 48)
    assert summary.auc > 0.95 and "without looking at the forgery (time)" in summary.sentence
    document = json.loads(beside_manifest(manifest).read_text())
    assert document["grades"]["time"] == "broken" and document["grades"]["crop"] == "clean"
    page = manifest.with_name("test.audit.html").read_text()
    assert "fps: real 25 x 100%; fake 30 x 100%" in page and "<script" not in page
    scores, _ = read_scores(manifest.with_name("test.audit.csv"))
    assert len(scores) == 48 and set(scores.method) == {"real", "Deepfakes"}
    manifest.write_text(manifest.read_text().replace("r0 0\n", ""))
    assert read_summary(manifest) is None, "an audit of other lines says nothing of these"
    beside_manifest(manifest).write_text('{"summary": {"grade": 3}}')
    with pytest.raises(ManifestError, match=r"test\.audit\.json"):
        read_summary(manifest)


def test_the_filter_takes_the_leak_out(leaking, capsys) -> None:
    cache, manifest = leaking
    words = ["manifest", "filter", str(manifest), "--cache", str(cache)]
    out = manifest.with_name("even.txt")
    assert main([*words, "--out", str(out), "--balance-by", "height"]) == 0
    assert len(read_manifest(out, cache)) == 48
    assert main([*words, "--out", str(out), "--balance-by", "fps,height"]) == 2
    assert "no value of fps, height has reals and fakes" in capsys.readouterr().err
    assert main([*words, "--out", str(out), "--balance-by", "colour"]) == 2
    assert "does not know 'colour'" in capsys.readouterr().err


def test_crops_and_their_surroundings_are_signals_of_a_cache(tmp_path: Path) -> None:
    cache, manifests = make_cache(tmp_path, {"train": 3})
    signals = of_manifest(read_manifest(manifests / "train.txt", cache), Limits())
    first = signals.rows[0]
    assert first["crop"]["face width"] == 24 and first["crop"]["crop scale"] == 1
    assert first["crop"]["detector score"] == 1 and 0 < first["background"]["red"] < 255
    assert signals.video_id[:2] == ("r000", "f000") and signals.label.tolist() == [0, 1] * 3


def test_numbers_of_the_ring_by_hand() -> None:
    pictures = np.full((2, 40, 40, 3), 100, np.uint8)
    pictures[:, 4:-4, 4:-4] = 255  # the face is not looked at
    flat = ring_of(pictures)
    assert (flat["red"], flat["spread"], flat["saturation"], flat["dark border"]) == (100, 0, 0, 0)
    noisy = np.random.default_rng(0).normal(100, 5, (4, 80, 80, 1)).repeat(3, axis=3)
    assert ring_of(noisy.clip(0, 255).astype(np.uint8))["noise"] == pytest.approx(5, rel=0.1)
    stairs = np.repeat(np.arange(0, 100, 10), 8)[None, None, :, None] * np.ones((1, 80, 1, 3))
    assert ring_of(stairs.astype(np.uint8))["blockiness"] == pytest.approx(10)


def test_files_alone_are_audited_by_the_data_sets_name(tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(0)
    for kind, crf in (("real", "20"), ("fake", "40")):
        (tmp_path / kind).mkdir()
        for number in range(12):
            recipe = Recipe(frames=int(rng.integers(8, 13)), size=(64, 48), options={"crf": crf})
            write_video(tmp_path / kind / f"{kind[0]}{number}.mp4", recipe)
    out = tmp_path / "found"
    words = ["datasets", "folder", "--root", str(tmp_path), "--audit", "--audit-out", str(out)]
    words.append("--no-boosting")
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "encoder and its settings gives the label away" in shown and "re-encode both" in shown
    document = json.loads(Path(f"{out}.json").read_text())
    assert document["grades"]["encoder"] == "broken" and "size" not in document["grades"]
    assert main(["datasets", "folder", "--audit", "--probe"]) == 2
    assert main(["datasets", "folder", "--audit-out", "x"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "family", "signal"),
    [("logo", "frame", "top right"), ("quantiser", "rate", "quantiser"), ("none", "", "")],
)
def test_a_leak_planted_in_real_files_is_named_and_none_where_none_is(
    tmp_path: Path, plant: str, family: str, signal: str
) -> None:
    """MPEG-4 names no settings in its container. A logo costs bits and a coarse quantiser
    leaves blocks, so rate and frame may both be named, but nothing else.
    """
    rng = np.random.default_rng(3)
    videos = []
    for number in range(40):
        fake = number % 2
        scale = "20" if plant == "quantiser" and fake else "6"
        recipe = Recipe(
            codec="mpeg4", frames=10, size=(192, 144), options={"qmin": scale, "qmax": scale}
        )
        frames = []
        phase = rng.uniform(0, 50)
        for n in range(10):
            y, x = np.mgrid[:144, :192]
            wave = np.sin((x + 6 * n + phase) / 9.7 + y / 13.1 + rng.uniform(-0.1, 0.1))
            picture = (120 + 50 * wave[..., None] + rng.normal(0, 3, (144, 192, 3))).clip(0, 255)
            picture = picture.astype(np.uint8)
            if plant == "logo" and fake:
                cv2.putText(picture, "TV", (158, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (255,) * 3, 2)
            frames.append(av.VideoFrame.from_ndarray(picture, format="rgb24"))
        path = write_video(tmp_path / f"{number}.mp4", recipe, frames)
        name = str(number)
        videos.append(Video("drawn", name, name, path, fake, "x", group=name))
    signals = of_dataset(Dataset("drawn", tmp_path, tuple(videos)), Limits())
    found = audit(signals, boosting=False)
    named = {finding.family for finding in found.named}
    if not family:
        assert named == set()
        return
    assert family in named and named <= {"rate", "frame"}
    perfect = [one.name for one in found.singles if one.family == family and one.auc == 1]
    assert any(name.startswith(signal) for name in perfect)

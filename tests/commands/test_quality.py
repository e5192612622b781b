"""datasets NAME --quality, as a user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_cache import KEY, draw_video, mask_of, write_one
from unmask.commands.main import main

PAIRS = 6


def fill(cache: Path, made, masks: bool = True) -> Path:
    """Six pairs of two clips of 64 px; made: original's pixels -> the fake's."""
    for number in range(PAIRS):
        true = draw_video(number, 0, clips=2, frames=3, side=64)
        media = {"media": {"width": 64, "height": 64}, "compression": "c23", "group": f"g{number}"}
        write_one(cache, f"r{number}", true, 0, method="real", **media)
        mask = mask_of(true) if masks else None
        forged = made(true, number)
        more = {"method": "swap", "pair": f"r{number}", **media}
        write_one(cache, f"f{number}", forged, 1, mask, **more)
    return cache


def forged(true: np.ndarray, number: int) -> np.ndarray:
    """The middle repainted, worse the higher the number, with a flicker of 4 levels."""
    rng = np.random.default_rng(number)
    fake, middle = true.astype(np.float64), slice(16, 48)
    fake[:, :, middle, middle] += rng.normal(0, 4 + 4 * number, (2, 3, 32, 32, 3))
    fake[:, 1::2, middle, middle] += 8
    return fake.clip(0, 255).round().astype(np.uint8)


def quality(cache: Path, out: Path, *words: str) -> int:
    arguments = ["datasets", "tiny", "--quality", "--cache", str(cache), "--quality-out", str(out)]
    brief = ("--perceptual", "", "--features", "", "--least-pairs", str(PAIRS))
    return main([*arguments, *brief, *words])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("quality"), forged)


@pytest.fixture(scope="module")
def whole(cache, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Everything that needs a network as well, on drawn weights; and its JSON."""
    out = tmp_path_factory.mktemp("out") / "q"
    words = ("--perceptual", "lpips-squeeze@random:1,vgg19-l1", "--features", "lite0@random:1")
    assert quality(cache, out, "--clips", "1", *words) == 0
    return out, json.loads(out.with_name("q.json").read_text())


@pytest.mark.slow
def test_copies_of_the_originals_are_as_good_as_they(tmp_path) -> None:
    copies = fill(tmp_path / "cache", lambda true, number: true)
    words = ("--perceptual", "lpips-squeeze@random:1", "--features", "lite0@random:1")
    assert quality(copies, tmp_path / "q", *words) == 0
    (rating,) = json.loads((tmp_path / "q.json").read_text())["ratings"]
    found = {name: measure["value"] for name, measure in rating["measures"].items()}
    assert found["mask_ssim"] == found["crop_ssim"] == 1.0
    assert found["lpips-squeeze@random:1"] == found["warp_excess"] == 0.0
    assert found["neighbours"] == 0.5 and found["warp_fake"] == found["warp_fixed"] > 0


def test_a_forgery_is_farther_the_worse_it_is_and_its_flicker_costs(whole) -> None:
    out, document = whole
    (rating,) = document["ratings"]
    rows = [json.loads(line) for line in out.with_name("q.jsonl").read_text().splitlines()]
    values = [row["values"]["mask_ssim"] for row in rows]
    assert [row["video_id"] for row in rows] == [f"f{n}" for n in range(PAIRS)]
    assert np.corrcoef(range(PAIRS), values)[0, 1] < -0.9
    assert rating["best"] == f"f{np.argmax(values)}" and rating["worst"] == f"f{np.argmin(values)}"
    found = rating["measures"]
    assert found["mask_ssim"]["value"] == pytest.approx(np.mean(values))
    assert found["mask_ssim"]["low"] < found["mask_ssim"]["value"] < found["mask_ssim"]["high"]
    assert found["warp_excess"]["value"] > 30 and found["crop_ssim"]["value"] > max(values[3:])
    assert rating["mask"] == "published" and rating["frames"] == PAIRS * 3
    assert found["frechet"]["value"] is None and "2560 needed" in found["frechet"]["note"]


def test_a_network_without_weights_is_a_named_gap_and_the_others_go_on(whole, capsys) -> None:
    document = whole[1]
    if "vgg19-l1" in document["absent"]:  # nobody put its file there
        assert "vgg19-dcbb9e9d.pth at weights" in document["absent"]["vgg19-l1"]
    assert list(document["networks"]) == ["lpips-squeeze@random:1"]
    assert "RANDOM WEIGHTS" in document["definitions"]["lpips-squeeze@random:1"]


def test_the_page_shows_pairs_and_maps_and_asks_the_network_for_nothing(whole) -> None:
    page = whole[0].with_name("q.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 3  # worst, median, best
    assert page.count('<source media="(prefers-color-scheme: dark)"') == 2  # t-SNE, PCA
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script" not in page
    assert "swap c23: worst pair" in page and "FF-DF" in page


def test_the_terminal_fits_eighty_columns(cache, tmp_path, capsys) -> None:
    assert quality(cache, tmp_path / "q", "--mask", "difference", "--clips", "1") == 0
    table = capsys.readouterr().out.split("\n\n")[1]
    assert max(map(len, table.splitlines())) <= 80
    assert "Mask-SSIM (difference)" in table and "swap c23" in table


def test_a_stopped_run_goes_on_and_ends_in_the_bytes_of_a_fresh_one(
    cache, tmp_path, monkeypatch, capsys
) -> None:
    assert quality(cache, tmp_path / "fresh") == 0
    from unmask.pipeline.quality import measure

    there, counted = measure._measured, []
    monkeypatch.setattr(measure, "KEPT_EVERY", 0.0)

    def until_the_fifth(*words: object) -> measure.Measured:
        counted.append(words[0])
        if len(counted) == 5:
            raise KeyboardInterrupt
        return there(*words)

    monkeypatch.setattr(measure, "_measured", until_the_fifth)
    assert quality(cache, tmp_path / "stopped") != 0
    assert len((tmp_path / "stopped.jsonl").read_text().splitlines()) == 4
    assert quality(cache, tmp_path / "stopped") == 0
    assert len(counted) == 5 + 2  # four of six were there
    for suffix in (".json", ".jsonl", ".html"):
        ended, fresh = ((tmp_path / f"{n}{suffix}").read_bytes() for n in ("stopped", "fresh"))
        assert ended == fresh
    counted += [None] * 5
    rows = (tmp_path / "stopped.jsonl").read_text()
    damaged = rows.replace('"mask_ssim": ', '"mask_ssim": "much", "other": ', 1)
    (tmp_path / "stopped.jsonl").write_text(damaged)
    assert quality(cache, tmp_path / "stopped") == 0  # measured again, never believed
    assert (tmp_path / "stopped.jsonl").read_text() == rows
    before = len(counted)
    assert quality(cache, tmp_path / "stopped", "--mask", "face") == 0
    assert len(counted) == before + PAIRS  # another definition: nothing of the old is taken


def test_too_few_pairs_and_damaged_ones_are_named(cache, tmp_path, capsys) -> None:
    other = tmp_path / "cache"
    shutil.copytree(cache, other)
    shutil.rmtree(other / "tiny" / KEY / "r3")
    crops = other / "tiny" / KEY / "f4" / "crops"
    (shard,) = (path for path in crops.iterdir() if path.name != "zarr.json")
    data = bytearray(shard.read_bytes())
    data[: len(data) // 2] = bytes(len(data) // 2)
    shard.write_bytes(data)
    assert quality(other, tmp_path / "q") == 4
    out = capsys.readouterr().out
    assert "swap c23 is not rated: 4 of at least 6 pairs" in out
    assert "swap c23: 1 left out, the cache has no original of it" in out
    assert "f4 could not be read" in out
    assert quality(other, tmp_path / "q", "--least-pairs", "4") == 3
    assert "Mask-SSIM" in capsys.readouterr().out


def test_bad_usage_is_one_line(cache, tmp_path, capsys) -> None:
    assert quality(cache, tmp_path / "q", "--verify") == 2
    assert quality(cache, tmp_path / "q", "--features", "lpips-alex") == 2
    assert quality(cache, tmp_path / "q", "--perceptual", "inception") == 2
    assert quality(cache, tmp_path / "q", "--features", "liteo") == 2
    assert main(["datasets", "ffpp", "--least-pairs", "3"]) == 2
    assert main(["datasets", "ffpp", "--quality-out", "x"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6 and all(line.startswith("unmask: ") for line in lines)
    assert lines[4].endswith("--least-pairs needs --quality")
    assert not (tmp_path / "q.jsonl").exists()  # refused before anything is measured


@pytest.mark.slow
def test_stored_features_serve_in_place_of_a_network(cache, tmp_path, monkeypatch) -> None:
    store = str(tmp_path / "store")
    lines = [f"tiny/{KEY}/{'rf'[k]}{n} {k}\n" for n in range(PAIRS) for k in (0, 1)]
    (tmp_path / "all.txt").write_text("".join(lines))
    words = ("--option", "backbone=test_vit.r160_in1k", "--option", "size=64", "--from-scratch")
    manifest = ("--manifest", str(tmp_path / "all.txt"), "--cache", str(cache), "--store", store)
    assert main(["features", *manifest, *words, "--device", "cpu"]) == 0
    assert quality(cache, tmp_path / "q", "--features", "auto", "--store", store) == 0
    document = json.loads((tmp_path / "q.json").read_text())
    assert document["features"]["network"].startswith("test_vit")
    assert document["ratings"][0]["measures"]["neighbours"]["value"] is not None
    assert "background" not in document["ratings"][0]["measures"]


@pytest.mark.slow
def test_a_real_face_swap_has_plausible_values(media, tmp_path, capsys) -> None:
    table = tmp_path / "list.csv"
    table.write_text(
        "path,label,key,method,pair\n"
        f"{media}/videos/pair_real_car_1080p.mp4,real,car,real,\n"
        f"{media}/videos/pair_fake_roop_car_1080p.mp4,fake,car-roop,roop,car\n"
    )
    cache, manifests = str(tmp_path / "cache"), str(tmp_path / "manifests")
    places = ("--root", str(table), "--cache", cache, "--manifests", manifests)
    assert main(["extract", "--dataset", "csv", *places, "--pair-boxes", "--clips", "4"]) == 0
    words = ("--cache", cache, "--quality-out", str(tmp_path / "q"), "--least-pairs", "1")
    assert main(["datasets", "csv", "--quality", *words, "--features", ""]) == 0
    (rating,) = json.loads((tmp_path / "q.json").read_text())["ratings"]
    found = {name: measure["value"] for name, measure in rating["measures"].items()}
    assert 0.5 < found["mask_ssim"] < 0.8 and 0.9 < found["crop_ssim"] < 0.97
    assert 1 < found["warp_fake"] < found["warp_fixed"] and found["visible"] > 0.85

"""Both detectors against the measured truth of real pictures, and the fast one against the stock
one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from torch.nn import functional
from torchvision.ops import batched_nms

from unmask.pipeline.config import CropConfig
from unmask.pipeline.decode.resize import Whole, reduce_to
from unmask.pipeline.demo.drawing import draw_frames, draw_identity
from unmask.pipeline.errors import PipelineError, VideoError
from unmask.pipeline.faces import cascade, networks
from unmask.pipeline.faces.cascade import Cascade
from unmask.pipeline.faces.detector import BATCH, Detector, FastDetector, build_detector
from unmask.pipeline.faces.networks import max_pool
from unmask.pipeline.records import Detections

ROOT = Path(__file__).parents[3]

# Largest face of each picture, measured with facenet-pytorch at full size when the pictures were
# collected.
TRUTH = {
    "face_obama_small.jpg": (1, (105, 38, 215, 189)),
    "face_mark.jpg": (1, (205, 122, 568, 628)),
    "face_murakami.jpg": (1, (154, 63, 338, 321)),
    "face_nicole.jpg": (1, (937, 163, 1269, 589)),
    "face_partial_obama.jpg": (1, (-134, 72, 160, 423)),
    "face_aligned_160_kate.png": (1, (-14, -28, 177, 197)),
    "multi_face.jpg": (6, (859, 437, 954, 559)),
}


@pytest.fixture(scope="module")
def fast() -> Detector:
    return build_detector(CropConfig())


@pytest.fixture(scope="module")
def stock() -> Detector:
    return build_detector(CropConfig(detector="stock"))


@pytest.fixture(scope="module")
def stock_full() -> Detector:
    return build_detector(CropConfig(detector="stock", detect_size=0, min_face=20))


@pytest.fixture(params=["fast", "stock"])
def detector(request: pytest.FixtureRequest) -> Detector:
    return request.getfixturevalue(request.param)


def read(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    a, b = np.asarray(a, float), np.asarray(b, float)
    inter = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0).prod()
    return inter / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inter)


def assert_empty(faces: Detections) -> None:
    assert (
        faces.box.shape == (0, 4) and faces.landmark.shape == (0, 5, 2) and faces.prob.shape == (0,)
    )
    assert faces.box.dtype == faces.landmark.dtype == faces.prob.dtype == np.float32


@pytest.mark.parametrize("name", TRUTH)
def test_real_faces_are_found_where_they_are(media: Path, detector: Detector, name: str) -> None:
    count, box = TRUTH[name]
    faces = detector.detect(read(media / "images" / name))
    assert len(faces) >= count
    assert overlap(faces.box[0], box) > 0.75 or name == "multi_face.jpg"
    assert max(overlap(b, box) for b in faces.box) > 0.75
    assert faces.box.dtype == faces.landmark.dtype == faces.prob.dtype == np.float32
    left, right = faces.landmark[0, 0], faces.landmark[0, 1]
    assert left[0] < right[0] and faces.prob[0] > 0.9
    area = (faces.box[:, 2] - faces.box[:, 0]) * (faces.box[:, 3] - faces.box[:, 1])
    assert (np.diff(area) <= 0).all()


def test_groceries_are_no_face(media: Path, detector: Detector) -> None:
    assert_empty(detector.detect(read(media / "images" / "noface_groceries.jpg")))


def agreement(
    reference: list[Detections], found: list[Detections], shift: float = 0
) -> tuple[float, float]:
    """Median IoU and median landmark error over eye distance, of the nearest find of every
    reference face.
    """
    ious, errors = [], []
    for known, faces in zip(reference, found, strict=True):
        for box, landmark in zip(known.box, known.landmark, strict=True):
            same = [overlap(box, b - shift) for b in faces.box]
            nearest = int(np.argmax(same))
            ious.append(same[nearest])
            eyes = np.linalg.norm(landmark[0] - landmark[1])
            errors.append(
                np.linalg.norm(faces.landmark[nearest] - shift - landmark, axis=1).mean() / eyes
            )
    return float(np.median(ious)), float(np.median(errors))


def test_fast_agrees_with_stock_within_the_noise_floor(
    media: Path, fast: Detector, stock_full: Detector
) -> None:
    names = ("face_obama_small.jpg", "face_mark.jpg", "face_murakami.jpg", "multi_face.jpg")
    pictures = [read(media / "images" / name) for name in names]
    moved = [
        cv2.warpAffine(p, np.float32([[1, 0, 3], [0, 1, 3]]), p.shape[1::-1]) for p in pictures
    ]
    reference = [stock_full.detect(p) for p in pictures]
    floor_iou, floor_error = agreement(reference, [stock_full.detect(p) for p in moved], shift=3)
    iou, error = agreement(reference, [fast.detect(p) for p in pictures])
    assert iou > floor_iou - 0.03 and error < floor_error + 0.03


def test_at_full_size_and_uncapped_the_cascade_is_the_stock_detector(
    media: Path, stock_full: Detector
) -> None:
    same = build_detector(CropConfig(detect_size=0, min_face=20, candidates=0))
    picture = read(media / "images" / "multi_face.jpg")
    known, faces = stock_full.detect(picture), same.detect(picture)
    assert len(known) == len(faces) == 6
    assert min(max(overlap(a, b) for b in faces.box) for a in known.box) > 0.8


@pytest.mark.parametrize(
    ("name", "stock_net", "side"), [("pnet", PNet, 37), ("rnet", RNet, 24), ("onet", ONet, 48)]
)
def test_each_network_says_what_the_stock_network_says(
    name: str, stock_net: type, side: int
) -> None:
    pictures = np.random.default_rng(3).integers(0, 256, (7, side, side, 3), np.uint8)
    with torch.inference_mode():
        said = getattr(Cascade(), name)(pictures)
        offset, *landmark, prob = stock_net()(
            (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - 127.5) / 128
        )
    channels_last = [x.permute(0, 2, 3, 1) if x.ndim == 4 else x for x in (prob, offset, *landmark)]
    torch.testing.assert_close(
        torch.sigmoid(said[..., 0]), channels_last[0][..., 1], atol=2e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        said[..., 1:], torch.cat(channels_last[1:], -1), atol=2e-5, rtol=1e-4
    )


class Recorder:
    """In place of a network: keeps the crops it is shown."""

    head = (None, np.zeros(5))

    def __init__(self) -> None:
        self.crops = np.empty((0, 24, 24, 3), np.uint8)

    def __call__(self, crops: np.ndarray, pad: int) -> torch.Tensor:
        self.crops = np.concatenate([self.crops, crops])
        return torch.zeros(len(crops), 5)


@pytest.mark.parametrize("size", [(720, 1280), (1080, 1920), (480, 640)])
def test_crops_for_the_networks_lie_where_the_boxes_are_in_the_smallest_picture_that_will_do(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width = size
    rng = np.random.default_rng(3)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (0, 0), 12)
    picture = np.clip((picture.astype(float) - 127) * 12 + 127, 0, 255).astype(np.uint8)
    small = reduce_to(picture, 640, round(height * 640 / width))
    sides = np.geomspace(20, 0.95 * height, 120)
    corner = rng.uniform(0, 1, (120, 2)) * (np.array([width, height]) - sides[:, None] - 2) + 1
    box = np.concatenate([corner, corner + sides[:, None]], 1)
    used: list[int] = []
    look_up = cascade._Sizes.picture
    monkeypatch.setattr(
        cascade._Sizes,
        "picture",
        lambda self, level, number: used.append(level) or look_up(self, level, number),
    )
    net = Recorder()
    looked = Cascade()._look(
        net, 24, cascade._Sizes([Whole(picture)], [small]), box, np.zeros(120, int), 0
    )
    np.testing.assert_array_equal(looked.box, box)
    shifts = []
    for crop, (x1, y1, x2, y2) in zip(net.crops, box.astype(int), strict=True):
        part = picture[
            y1 - 1 : y2, x1 - 1 : x2
        ]  # MTCNN's whole pixels, counted from 1, both ends included
        expected = cv2.resize(part, (24, 24), interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(crop - expected)[1:-1, 1:-1].mean() < 6
        down, across = np.gradient(expected, axis=(0, 1))
        slopes = np.stack([across[1:-1, 1:-1].ravel(), down[1:-1, 1:-1].ravel()], 1)
        shifts.append(np.linalg.lstsq(slopes, (crop - expected)[1:-1, 1:-1].ravel(), rcond=None)[0])
    assert np.abs(np.median(shifts, 0)).max() < 0.04, "px of a crop"
    reduced = (np.trunc(box[:, 2]) - np.trunc(box[:, 0]) + 1) * 640 / width
    levels, last = np.array(used), int(np.log2(min(small.shape[:2]) / 24)) + 1
    assert ((levels == 0) == (reduced < 24)).all() and levels.max() == last
    assert (reduced[levels > 0] / 2.0 ** (levels[levels > 0] - 1) >= 24).all()
    assert (reduced / 2.0**levels < 24)[levels < last].all()


@pytest.mark.parametrize("count", [0, 1, 7, 400])
@pytest.mark.parametrize("limit", [0.5, 0.7])
def test_suppression_is_torchvisions_within_each_group(count: int, limit: float) -> None:
    rng = np.random.default_rng(count)
    # A coarse grid and rounded scores: many equal boxes, overlaps of exactly a half, and ties.
    corner, side = 2.0 * rng.integers(0, 60, (count, 2)), rng.choice([12.0, 17, 24, 34], (count, 1))
    box = np.concatenate([corner, corner + side], 1)
    score, group = rng.integers(1, 40, count).astype(np.float32) / 10, rng.integers(0, 3, count)
    known = batched_nms(
        torch.from_numpy(box), torch.from_numpy(score).double(), torch.from_numpy(group), limit
    )
    assert cascade.suppress(box, score, group.astype(np.float64), limit).tolist() == known.tolist()


def test_the_weights_come_from_facenet_pytorch_without_loading_it_or_torchvision() -> None:
    code = (
        "import sys; from unmask.pipeline.faces.cascade import Cascade; Cascade(); "
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"torchvision", "facenet_pytorch"} & set(done.stdout.split())


def test_an_installation_without_weights_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "find_spec", lambda name: None)
    with pytest.raises(PipelineError, match=r"facenet-pytorch==2\.5\.3"):
        Cascade()


@pytest.mark.parametrize("window", [2, 3])
@pytest.mark.parametrize("size", [(3, 3), (4, 7), (9, 22), (46, 21), (5, 318)])
def test_max_pool_is_torch_max_pool(window: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 6, *size).contiguous(memory_format=torch.channels_last)
    assert torch.equal(max_pool(x, window), functional.max_pool2d(x, window, 2, ceil_mode=True))


@pytest.mark.parametrize("size", [(1, 1), (10, 10), (11, 13), (23, 400), (400, 5)])
def test_pictures_smaller_than_a_face_have_none(detector: Detector, size: tuple[int, int]) -> None:
    assert_empty(detector.detect(np.full((*size, 3), 128, np.uint8)))


def test_nothing_is_found_in_nothing_and_nothing_raises(detector: Detector) -> None:
    rng = np.random.default_rng(0)
    assert_empty(detector.detect(np.zeros((360, 480, 3), np.uint8)))
    for size in [(24, 24), (24, 300), (31, 25), (90, 120), (25, 641)]:
        noise = rng.integers(0, 256, (*size, 3), np.uint8)
        assert detector.detect(noise).box.shape[1] == 4


def test_drawn_faces_are_found_at_any_size_in_the_pixels_of_the_picture(detector: Detector) -> None:
    picture, _ = next(draw_frames(draw_identity(1), 1, (640, 480)))
    once = detector.detect(picture)
    twice = detector.detect(cv2.resize(picture, (1280, 960), interpolation=cv2.INTER_CUBIC))
    assert len(once) == len(twice) == 1
    assert overlap(once.box[0] * 2, twice.box[0]) > 0.9
    eyes = np.linalg.norm(once.landmark[0, 0] - once.landmark[0, 1])
    assert np.abs(once.landmark[0] * 2 - twice.landmark[0]).max() < 0.2 * eyes


def test_faces_smaller_than_min_face_are_not_looked_for(media: Path) -> None:
    careless = build_detector(CropConfig(min_face=200))
    assert_empty(careless.detect(read(media / "images" / "multi_face.jpg")))


def test_small_faces_are_found_alone_and_beside_a_large_one_where_all_are_wanted() -> None:
    small, _ = next(draw_frames(draw_identity(1), 1, (640, 360), face=0.12))
    large, _ = next(draw_frames(draw_identity(2), 1, (640, 360), face=0.7))
    both = np.concatenate([small, large], 1)
    one, every = (
        build_detector(CropConfig(detect_size=0, min_face=36, faces=who)) for who in ("main", "all")
    )
    assert len(one.detect(small)) == len(every.detect(small)) == 1
    assert np.array_equal(one.detect(small).box, every.detect(small).box)
    assert len(every.detect(both)) == 2 and len(one.detect(both)) == 1
    assert overlap(one.detect(both).box[0], every.detect(both).box[0]) > 0.9


def test_the_same_picture_gives_the_same_faces_whatever_the_threads(fast: Detector) -> None:
    picture, _ = next(draw_frames(draw_identity(1), 1, (480, 360)))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        two = fast.detect(picture)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    one = fast.detect(picture)
    assert len(one) == 1
    assert np.array_equal(one.box, two.box) and np.array_equal(one.landmark, two.landmark)


def test_many_pictures_are_the_single_pictures(media: Path, detector: Detector) -> None:
    drawn = [
        next(draw_frames(draw_identity(n), 1, size))[0]
        for n, size in enumerate([(480, 360), (320, 240)] * 2)
    ]
    pictures = [*drawn, np.zeros((5, 5, 3), np.uint8)]
    for many, picture in zip(detector.detect_many(pictures), pictures, strict=True):
        one = detector.detect(picture)
        assert many.box.shape == one.box.shape
        assert np.allclose(many.box, one.box, atol=0.01) and np.allclose(
            many.prob, one.prob, atol=1e-4
        )
    assert detector.detect_many([]) == []


def test_a_batch_finds_what_single_pictures_show(fast: FastDetector) -> None:
    pictures = [next(draw_frames(draw_identity(n), 1, (480, 360), seed=n))[0] for n in range(5)]
    for batch, picture in zip(
        fast._batched([Whole(picture) for picture in pictures], 5), pictures, strict=True
    ):
        one = fast.detect(picture)
        assert len(batch) == len(one) == 1
        np.testing.assert_allclose(batch.box, one.box, atol=0.1)
        np.testing.assert_allclose(batch.landmark, one.landmark, atol=0.1)


@pytest.fixture(params=["cpu", "cuda"])
def fixed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FastDetector:
    """A detector whose batches have one shape: as on a GPU, and on one where there is one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    monkeypatch.setitem(BATCH, "cpu", 6)
    monkeypatch.setattr(cascade, "CPU_CHUNK", 48)
    return FastDetector(CropConfig(device=request.param, faces="all"))


def test_in_batches_of_one_shape_a_picture_does_not_see_the_others(
    fixed: FastDetector, fast: FastDetector
) -> None:
    pictures = [next(draw_frames(draw_identity(n), 1, (480, 360), seed=n))[0] for n in range(8)]
    pictures[2] = np.random.default_rng(0).integers(
        0, 256, pictures[2].shape, np.uint8
    )  # candidates without a face
    pictures[5] = np.tile(cv2.resize(pictures[5], None, fx=0.5, fy=0.5), (2, 2, 1))
    alone = [fixed.detect(picture) for picture in pictures]
    assert [len(faces) for faces in alone] == [1, 1, 0, 1, 1, 4, 1, 1]
    for order in ([*range(8)], [7, 3, 5, 0, 2, 6, 1, 4], [5, 5, 2, 2, 0], [1, 2]):
        for number, found in zip(
            order, fixed.detect_many([pictures[n] for n in order]), strict=True
        ):
            assert np.array_equal(found.box, alone[number].box)
            assert np.array_equal(found.landmark, alone[number].landmark)
            assert np.array_equal(found.prob, alone[number].prob)
    np.testing.assert_allclose(alone[0].box, fast.detect(pictures[0]).box, atol=2)


@pytest.mark.parametrize("fits", [1, 2, 3])
def test_a_full_device_halves_the_batch(
    fits: int, monkeypatch: pytest.MonkeyPatch, fast: FastDetector
) -> None:
    pictures = [next(draw_frames(draw_identity(n), 1, (320, 240), seed=n))[0] for n in range(7)]
    expected = fast.detect_many(pictures)
    real, tried = fast._detect_equal, []

    def small_device(batch: list, pad: int) -> list[Detections]:
        tried.append(len(batch))
        if len(batch) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(batch, pad)

    monkeypatch.setattr(fast, "_detect_equal", small_device)
    found = fast._batched([Whole(picture) for picture in pictures], 7)
    assert tried[0] == 7 and sum(n for n in tried if n <= fits) == 7
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.box, b.box, atol=0.1)


def test_a_device_too_small_for_one_picture_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, fast: FastDetector
) -> None:
    def no_device(batch: list, pad: int) -> list[Detections]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(fast, "_detect_equal", no_device)
    with pytest.raises(VideoError, match="64x48") as error:
        fast._batched([Whole(np.zeros((48, 64, 3), np.uint8))] * 4, 4)
    assert error.value.reason == "out_of_memory"


@pytest.mark.parametrize("wrong", [np.zeros((40, 40), np.uint8), np.zeros((40, 40, 3), np.float32)])
def test_what_is_no_picture_is_refused(detector: Detector, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        detector.detect(wrong)

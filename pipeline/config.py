"""Every setting of extraction with its default, once; the cache key is the digest of what changes
the pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Literal, get_args

# Raise when what is found, cut or written changes; old caches then get another key, never a wrong
# reading.
CACHE_FORMAT = 4

# Libraries that decide pixels or boxes. What they give is in the key (extraction/reference.py),
# their versions are only noted.
PIXEL_LIBRARIES = ("av", "opencv-python-headless", "torch", "facenet-pytorch", "scipy")

# The names of cache/codecs.py's table; a test compares the two.
CodecName = Literal["zstd", "compact", "none"]


# How the clips of a person make its score, and how persons make the video's: what scores.RULES
# computes.
VideoRule = Literal["mean", "max", "median", "mean-logit"]
PersonRule = Literal["max", "mean", "median"]
VIDEO_RULES: tuple[VideoRule, ...] = get_args(VideoRule)
PERSON_RULES: tuple[PersonRule, ...] = get_args(PersonRule)
# Of evaluation/protocols.py, which a command line need not load to name them.
PROTOCOL_NAMES = ("clrnet-paper", "stil-paper", "m2tr-paper", "deepfakebench")


@cache
def pixel_libraries() -> dict[str, str]:
    """Name -> major.minor of each, a note for every video's record; looking them up takes
    milliseconds. Treat as read-only.
    """
    return {name: ".".join(version(name).split(".")[:2]) for name in PIXEL_LIBRARIES}


@dataclass(frozen=True)
class Limits:
    """What one video may cost before it is refused; none of these changes a pixel of an accepted
    video.

    max_pixels: of one frame.
    max_side, min_side: px.
    max_frames: about 30 h at 30 fps.
    max_bad_packets: share of damaged packets a recovered video may have.
    seconds: watchdog per video.
    memory_mib: address-space limit of one CPU worker, 0 for none; the libraries take 3,600.
    """

    max_pixels: int = 40_000_000
    max_side: int = 8192
    min_side: int = 24
    max_frames: int = 3_000_000
    max_bad_packets: float = 0.05
    seconds: float = 600.0
    memory_mib: int = 8192


@dataclass(frozen=True)
class CropConfig:
    """Which frames, which face and how it is cut and stored: all of it is in the cache key.

    clips x frames: clips of consecutive frames spread over the video.
    size: crop side, px.
    margin: crop side over face box side.
    detect_size: long side the detector sees, px, 0 for full size.
    min_face: smallest face, px of the picture the detector sees.
    candidates: most boxes kept after the first net.
    faces: main (one person) or all (one folder per person).
    codec: of the crops (cache/codecs.py); zstd, compact (smallest) or none (fastest to read).
    """

    clips: int = 16
    frames: int = 5
    size: int = 240
    margin: float = 1.3
    detector: Literal["fast", "stock"] = "fast"
    detect_size: int = 640
    min_face: int = 24
    candidates: int = 64
    faces: Literal["main", "all"] = "main"
    bands: bool = True
    band_definition: Literal["area", "linear"] = "area"
    masks: bool = False
    pair_boxes: bool = False
    codec: CodecName = "zstd"
    device: Literal["cpu", "cuda"] = "cpu"

    def settings(self, reference: str = "") -> dict[str, object]:
        """Everything that decides the bytes of a cached group, as plain JSON values.

        reference: the reference values that the machine gives (extraction/reference.py); "" leaves
            it out, where nothing is cut.
        """
        named = {"reference": reference} if reference else {}
        return {"format": CACHE_FORMAT, **asdict(self), **named}

    @staticmethod
    def differing(
        there: Mapping[str, object], here: Mapping[str, object]
    ) -> dict[str, tuple[object, object]]:
        """Name -> (value there, value here) of every setting in which two extractions differ.

        there, here: settings as a cache folder keeps them; a setting that one of them lacks is
            None.
        """
        names = sorted({*there, *here})
        pairs = {name: (there.get(name), here.get(name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def cache_key(self, reference: str) -> str:
        """Name of the cache folder for these settings, e.g. `16x5-240px-r1-3f2a9c0d41b7`.

        reference: the reference values that the machine gives. Caches made before there were such
            have the libraries' versions in their settings instead; they have other names, and stay
            readable.
        """
        text = json.dumps(self.settings(reference), sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"{self.clips}x{self.frames}-{self.size}px-{reference}-{digest}"


@dataclass(frozen=True)
class ExtractConfig:
    """One call of extract: the crops it makes and how the work is shared out.

    reference: the reference values that the machine gives, filled in by extract so that workers
        need not ask again.
    """

    crop: CropConfig = field(default_factory=CropConfig)
    limits: Limits = field(default_factory=Limits)
    jobs: int = -1
    limit: int = 0
    shard: tuple[int, int] = (1, 1)
    scheduler: str | None = None
    retry: bool = False
    lock: bool = True
    reference: str = ""


@dataclass(frozen=True)
class TrainConfig:
    """One training run; what the papers decide (optimizer, batch, epochs, loss, augmentation)
    stands in the recipe.

    manifest, val: manifests, or exported .h5 files; val "" trains without validation.
    cache: root of the folders.
    options: of the model.
    recipe: named preset of the model, "" for its first; overrides: of its fields.
    steps: stop after so many steps, 0 for the recipe's epochs.
    all_clips: every clip in an epoch, also where the recipe takes one of each video.
    accumulate: parts a batch is computed in.
    ema: decay of averaged weights, 0 for none.
    sync_norm: batch statistics over all GPUs.
    precision: auto is float32 on a CPU, bf16 on a GPU that has it.
    devices: processes.
    bands: whence the DCT bands of a model that eats them come; auto is the cache while the pixels
        are unchanged or moved only, else the device.
    val_clips: samples scored per video between epochs, 0 for all.
    patience: epochs without a better validation before stopping, 0 for never.
    checkpoint_steps: also inside an epoch, 0 for its end only.
    nan_limit: steps in a row without a finite loss before giving up.
    pretrained: ImageNet weights, also where the recipe begins without.
    from_scratch: random weights, also where the recipe begins with ImageNet's.
    init: file of weights to begin with.
    features: key of stored features that a head trains on, auto for the only one, "" for pixels.
    store: root of the features.
    """

    manifest: str = ""
    val: str = ""
    cache: str = "cache"
    model: str = "clrnet"
    options: dict[str, object] = field(default_factory=dict)
    recipe: str = ""
    overrides: dict[str, object] = field(default_factory=dict)
    steps: int = 0
    seed: int = 0
    all_clips: bool = False
    accumulate: int = 1
    ema: float = 0.0
    sync_norm: bool = False
    compile: bool = False
    channels_last: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = 1
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    threads: int = 2
    bands: Literal["auto", "cached", "computed"] = "auto"
    val_clips: int = 4
    patience: int = 0
    checkpoint_steps: int = 0
    nan_limit: int = 10
    tensorboard: bool = True
    allow_missing: bool = False
    pretrained: bool = False
    from_scratch: bool = False
    init: str = ""
    trust_checkpoint: bool = False
    features: str = ""
    store: str = "features"


@dataclass(frozen=True)
class EvaluateConfig:
    """One call of evaluate.

    manifests: text manifests or exported .h5 files.
    run: a run folder.
    which: best or last checkpoint.
    rule: how clips become a video's score (mean, max, median, mean-logit).
    tracks: how the scores of persons become a video's.
    threshold: of decisions.
    threshold_from: validation scores, evaluation folder or manifest that chooses the threshold, and
        the temperature, by threshold_rule.
    error: share of each class that may get the wrong verdict; the zone of no verdict keeps it.
    zone: how that zone is found: for new videos (conformal), or counted on those of validation.
    bands: as in training; of distorted pixels they are always computed.
    clips: samples per video, 0 for all.
    robust_videos, robust_clips, robust_kinds: of robustness, videos per class, samples per video
        and names of the kinds of wear, () for all.
    explain: videos per class, farthest from their label, that are shown.
    pictures: draw curves and the map of features.
    probe: key of stored features on which a linear probe is measured beside the model, auto for the
        only one, "" for none; store: root of the features.
    other_pixels, allow_leakage, allow_missing: do what is otherwise refused, and say so in the
    report.
    """

    manifests: tuple[str, ...] = ()
    run: str = ""
    which: Literal["best", "last"] = "best"
    cache: str = "cache"
    out: str = ""
    rule: VideoRule = "mean"
    tracks: PersonRule = "max"
    threshold: float = 0.5
    threshold_from: str = ""
    threshold_rule: Literal["balanced", "eer"] = "balanced"
    error: float = 0.05
    zone: Literal["conformal", "counted"] = "conformal"
    resamples: int = 1000
    seed: int = 0
    batch: int = 8
    threads: int = 2
    bands: Literal["auto", "cached", "computed"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    half: bool = False
    clips: int = 0
    robustness: bool = False
    robust_videos: int = 100
    robust_clips: int = 4
    robust_kinds: tuple[str, ...] = ()
    protocol: str = ""
    explain: int = 3
    pictures: bool = True
    allow_missing: bool = False
    allow_leakage: bool = False
    other_pixels: bool = False
    probe: str = ""
    store: str = "features"


@dataclass(frozen=True)
class QualityConfig:
    """One call of datasets --quality.

    cache: root of the crops; key: their settings, "" for the only ones there are.
    pairs: of each method at most, leakage groups drawn by seed; clips: of each pair, spread
        over it; 0 for all.
    least_pairs: a method with fewer is not rated.
    mask: where a fake is forged: as its owners say (published), where it differs from its original,
        or the whole face; auto is published where all pairs of a method have one, else difference.
    ssim: mean of the map over the mask, or of the masked pictures over everything (multiplied).
    erode: px that the mask loses for SSIM.
    flow: optical flow of E_warp.
    perceptual: networks of the perceptual distance, separated by commas, "" for none.
    features: the network whose features are compared, or the key of stored ones below store.
    """

    cache: str = "cache"
    key: str = ""
    pairs: int = 200
    clips: int = 4
    least_pairs: int = 10
    mask: Literal["auto", "published", "difference", "face"] = "auto"
    ssim: Literal["mean", "multiplied"] = "mean"
    erode: int = 0
    flow: Literal["dis", "raft-small"] = "dis"
    perceptual: str = "lpips-alex,lite0"
    features: str = "lite0"
    store: str = "features"
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class PredictConfig:
    """One call of predict.

    models: run folders or exported files, several make an ensemble.
    which: best or last checkpoint of a run.
    cache: where the training crops lie, asked for their settings when run.json does not know them;
        "" as in training.
    rule: how the samples of a person become its score; the video's is the highest of its persons.
    faces: every person (all), the main one, or as in training, which alone gives the very pixels
        and scores of evaluate.
    every: seconds between clips of a dense timeline, 0 for the clips of training.
    segment: clips decoded before they are scored in a dense timeline.
    trust: open .pt2 files, which can run code when they are loaded.
    anyway: say real or fake in spite of doubts about the model or the video.
    jobs: videos at a time, each in a process; -1 for one per core, or one on a GPU.
    """

    models: tuple[str, ...] = ()
    which: Literal["best", "last"] = "best"
    cache: str = ""
    rule: VideoRule = "mean"
    faces: Literal["trained", "all", "main"] = "trained"
    every: float = 0.0
    segment: int = 16
    batch: int = 8
    device: Literal["auto", "cpu", "cuda"] = "auto"
    trust: bool = False
    anyway: bool = False
    jobs: int = -1
    limits: Limits = field(default_factory=Limits)

"""What plain numbers say of the same clips: nobody should believe a detector that they equal.

Each takes the clips and gives one score a clip, the higher the more fake. Directions are fixed
beforehand, and whatever is fitted is fitted on the other persons' clips only.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.openclips.clips import Seen
from unmask.models import create_model
from unmask.models.spec import NORMS
from unmask.models.weights import WeightsError, load_pretrained

Scores = NDArray[np.float64]
SEEDS = 20


def sharpness(crops: NDArray[np.uint8]) -> tuple[Scores, Scores]:
    """(N, S, S, 3) -> (N,) log variance of the Laplacian in the face and around it.

    The face: an ellipse of 0.32 x 0.42 of the side about the centre; around: outside 0.40 x 0.50.
    """
    side = crops.shape[1]
    row, column = np.mgrid[:side, :side] / (side - 1) - 0.5
    face = (column / 0.32) ** 2 + (row / 0.42) ** 2 < 1
    around = (column / 0.40) ** 2 + (row / 0.50) ** 2 > 1
    inside, outside = [], []
    for crop in crops:
        edges = cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_64F)
        inside.append(np.log(edges[face].var() + 1e-6))
        outside.append(np.log(edges[around].var() + 1e-6))
    return np.array(inside), np.array(outside)


def face_blur(seen: Sequence[Seen]) -> Scores:
    """The blurrier the face, the more fake."""
    return np.array([-np.median(sharpness(one.crops.pixels[:, 0])[0]) for one in seen])


def blurrier_than_around(seen: Sequence[Seen]) -> Scores:
    """The blurrier the face is than what surrounds it, the more fake."""
    found = []
    for one in seen:
        inside, outside = sharpness(one.crops.pixels[:, 0])
        found.append(np.median(outside - inside))
    return np.array(found)


def picture_size(seen: Sequence[Seen]) -> Scores:
    """The larger the picture, the more fake: generators work at 256 or 512 px."""
    return np.array([float(np.log(one.info.width * one.info.height)) for one in seen])


def file_facts(seen: Sequence[Seen]) -> Scores:
    """Logistic regression on what the file says without a look at it: codec, container, rate,
    length, bytes a pixel and shape.
    """
    words = sorted({one.info.codec for one in seen} | {one.info.container for one in seen})
    rows = []
    for one in seen:
        info = one.info
        pixels = info.width * info.height
        known = [float(word in (info.codec, info.container)) for word in words]
        numbers = [
            np.log(info.fps or 25.0),
            np.log(info.frames),
            np.log(one.size / info.frames / pixels),
            info.width / info.height,
        ]
        rows.append([*known, *numbers])
    return left_out(np.array(rows), seen)


def left_out(features: NDArray, seen: Sequence[Seen]) -> Scores:
    """(R, D) -> (R,) logit of logistic regression, each person judged by a fit on the others."""
    label = np.array([one.clip.fake for one in seen])
    groups = np.array([one.clip.group for one in seen])
    score = np.zeros(len(seen))
    for name in np.unique(groups):
        mine = groups == name
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000)
        )
        if len(set(label[~mine].tolist())) == 2:
            model.fit(features[~mine], label[~mine])
            score[mine] = model.decision_function(features[mine])
    return score


def frozen_features(seen: Sequence[Seen]) -> tuple[NDArray[np.float64], str]:
    """(R, 1280) mean feature of a clip's frames in `lite`, and which weights it has: ImageNet's
    where they are on this machine, else random ones.
    """
    torch.manual_seed(0)
    network, weights = create_model("lite").eval(), "ImageNet"
    try:
        load_pretrained(network)
    except WeightsError:
        weights = "random"
    side = network.spec.size
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in NORMS[network.spec.norm])
    found = []
    for one in seen:
        frames = [
            cv2.resize(f, (side, side), interpolation=cv2.INTER_AREA)
            for f in one.crops.pixels[:, 0]
        ]
        clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
        with torch.inference_mode():
            feature = network.outputs(((clip - mean) / std)[:, None])["feature"]
        found.append(feature.mean(0).double().numpy())
    return np.stack(found), weights


def linear_probe(features: NDArray, seen: Sequence[Seen]) -> Scores:
    """Logistic regression on frozen features, each person judged by a fit on the others."""
    return left_out(features, seen)


def untrained_heads(features: NDArray) -> list[Scores]:
    """Twenty random directions in the same features: what an untrained head says."""
    centred = features - features.mean(0)
    return [
        centred @ np.random.default_rng(seed).normal(size=features.shape[1])
        for seed in range(SEEDS)
    ]

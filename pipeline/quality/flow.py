"""The optical flow that a warping error is measured with. It is part of the measure: values of
different flows are not comparable.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import pad

from unmask.models.weights import load_tensors
from unmask.pipeline.features.frozen import fingerprint
from unmask.pipeline.quality.networks import torchvision_tensors
from unmask.pipeline.quality.warping import Floats, Flow

DIS, RAFT = "dis", "raft-small"
WHAT = {
    DIS: "OpenCV's DIS, preset medium, on grey levels",
    RAFT: "torchvision's RAFT small, 12 updates",
}
RAFT_FILE = "raft_small_C_T_V2-01064c6d.pth"
# RAFT halves its pictures three times and compares at four more scales.
MULTIPLE, LEAST = 8, 128


def open_flow(name: str) -> tuple[Flow, str]:
    """A flow by name, and what identifies it.

    Raises WeightsError naming the file that is missing.
    """
    if name == DIS:
        return dis(), f"opencv {cv2.__version__}"
    from torchvision.models.optical_flow import raft_small

    tensors = torchvision_tensors(RAFT_FILE)
    model = raft_small(weights=None).eval()
    load_tensors(model, tensors, RAFT_FILE)
    return raft(model), fingerprint(model)


def dis() -> Flow:
    """OpenCV's dense inverse search (Kroeger et al., ECCV 2016)."""
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def flow(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> Floats:
        grey = [np.ascontiguousarray(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY)) for p in (one, two)]
        return search.calc(*grey, None).astype(np.float64)

    return flow


def raft(model: torch.nn.Module) -> Flow:
    """A network of Teed and Deng, ECCV 2020, on pixels in -1..1."""

    @torch.inference_mode()
    def flow(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> Floats:
        side = one.shape[0]
        more = max(LEAST, -(-side // MULTIPLE) * MULTIPLE) - side
        pictures = [
            pad(
                torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1,
                (0, more, 0, more),
                mode="replicate",
            )
            for p in (one, two)
        ]
        found = model(*pictures)[-1][0, :, :side, :side]  # (2, S, S)
        return found.permute(1, 2, 0).double().numpy()

    return flow

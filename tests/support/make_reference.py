"""Make the values of a new reference: `python -m tests.support.make_reference r2`.

To be run where decoding, cropping, detection or bands were changed on purpose; the clip is drawn
once and stays, so that references can be compared.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator

import numpy as np

from unmask.pipeline.config import CropConfig
from unmask.pipeline.demo.drawing import draw_frames, draw_identity, encode_video
from unmask.pipeline.extraction.reference import CLIP, FOLDER, Outputs, measure

DETECTORS = ("fast", "stock")


def draw_clip() -> None:
    """Ten frames of a drawn head, 256x192, H.264 with B-frames and two key frames."""

    def pictures() -> Iterator[np.ndarray]:
        for picture, _ in draw_frames(draw_identity(7), 10, (256, 192), seed=5, face=0.6):
            yield picture

    encode_video(CLIP, pictures(), crf=20, keyint=6)


def values_of(found: dict[str, Outputs]) -> dict[str, object]:
    """What a reference's file holds, of each detector's outputs."""
    plain = {name: outputs.as_values() for name, outputs in found.items()}
    shared = {name: plain["fast"][name] for name in ("decoded", "cropped", "bands")}
    own = ("box", "landmark", "prob")
    return shared | {name: {part: plain[name][part] for part in own} for name in found}


def main(name: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    if not CLIP.exists():
        draw_clip()
    found = {name: measure(CropConfig(detector=name)) for name in DETECTORS}
    text = json.dumps(values_of(found), indent=1, sort_keys=True)
    text = re.sub(r"\n {2,}", " ", text) + "\n"
    (FOLDER / f"{name}.json").write_text(text)


if __name__ == "__main__":
    main(sys.argv[1])

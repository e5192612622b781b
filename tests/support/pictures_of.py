"""Folders of pictures as datasets ship them, written by OpenCV and not by our own reader's
library.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def save_pictures(folder: Path, pictures: dict[str, NDArray[np.uint8]]) -> Path:
    """Name -> RGB picture; a name without suffix is a JPEG, as in VidTIMIT."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        suffix = Path(name).suffix or ".jpg"
        done, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        assert done
        (folder / name).write_bytes(data.tobytes())
    return folder

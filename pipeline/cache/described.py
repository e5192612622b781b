"""What a cached video says of itself, as typed properties instead of `attributes["..."]`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from unmask.pipeline.errors import CacheError

Value = TypeVar("Value")


class Described:
    """Typed reading of a video's `attributes`. Each property raises CacheError, naming folder and
    field, where the video was stored without it.

    N clips, T frames of a clip. Coordinates are px of the upright frame of the source video.
    """

    folder: Path
    shape: tuple[int, ...]
    attributes: Any  # a dict; subclasses read it from the disk when they are first asked

    @property
    def dataset(self) -> str:
        """Name of the dataset the video belongs to."""
        return self._stored("dataset", str)

    @property
    def video_id(self) -> str:
        """The video's name in the cache, unique in its dataset."""
        return self._stored("video_id", str)

    @property
    def key(self) -> str:
        """The video's name as the dataset's owners have it, e.g. `Deepfakes/c23/000_003`."""
        return self._stored("key", str)

    @property
    def label(self) -> int:
        """0 real, 1 fake."""
        return self._stored("label", int)

    @property
    def method(self) -> str:
        """How a fake was made; `real` for a real video."""
        return self._stored("method", str)

    @property
    def compression(self) -> str:
        """raw, c23 or c40 of FF++-like datasets, else `none`."""
        return self._stored("compression", str)

    @property
    def group(self) -> str:
        """Leakage group: videos of one group never lie in two splits."""
        return self._stored("group", str)

    @property
    def split(self) -> str:
        """train, val, test or none."""
        return self._stored("split", str)

    @property
    def source(self) -> Path:
        """Name of the file (or folder of pictures) the crops were cut from; where that lies may
        change without making them another video's, and stands in the index alone.
        """
        return Path(self._within("file", "name", str))

    @property
    def source_sha256(self) -> str:
        """sha256 of that file's bytes."""
        return self._within("file", "sha256", str)

    @property
    def fps(self) -> float:
        """Frames per second of the source video."""
        return float(self._within("media", "fps", (int, float)))

    @property
    def flags(self) -> tuple[str, ...]:
        """What was noticed during extraction, e.g. `vfr`, `damaged`, `fewer_clips`."""
        return tuple(self._within("outcome", "flags", list))

    @property
    def settings(self) -> dict[str, Any]:
        """The extraction settings that decided the pixels."""
        return self._stored("settings", dict)

    @property
    def frame_numbers(self) -> NDArray[np.int64]:
        """(N, T) number of each crop's frame in the source video, from 0."""
        return self._array("index", np.int64, self.shape[:2])

    @property
    def windows(self) -> NDArray[np.int64]:
        """(N,) which of the planned clips of the source video each clip is."""
        return self._array("window", np.int64, self.shape[:1])

    @property
    def times(self) -> NDArray[np.float64]:
        """(N, T) time of each crop's frame in the source video, seconds."""
        return self._array("pts", np.float64, self.shape[:2])

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4) left, top, right, bottom of the face in each clip, px."""
        return self._array("box", np.float32, (self.shape[0], 4))

    @property
    def landmarks(self) -> NDArray[np.float32]:
        """(N, 5, 2) x and y of left eye, right eye, nose, left and right corner of the mouth, px;
        left as one sees it in the picture.
        """
        return self._array("landmark", np.float32, (self.shape[0], 5, 2))

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(N,) the detector's score of each clip's face, 0 to 1."""
        return self._array("prob", np.float32, (self.shape[0],))

    @property
    def transforms(self) -> NDArray[np.float32]:
        """(N, 2, 3) affine maps from the source frame's px to the crop's px."""
        return self._array("transform", np.float32, (self.shape[0], 2, 3))

    def _stored(self, name: str, kind: type[Value]) -> Value:
        return self._checked(self.attributes, name, name, kind)

    def _within(self, part: str, name: str, kind: Any) -> Any:
        return self._checked(self._stored(part, dict), name, f"{part}.{name}", kind)

    def _checked(self, values: dict[str, Any], name: str, where: str, kind: Any) -> Any:
        if name not in values:
            raise CacheError(f"{self.folder}: was stored without {where!r}")
        value = values[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise CacheError(f"{self.folder}: {where!r} is {value!r:.80}, which it cannot be")
        return value

    def _array(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
        rows = self._stored(name, list)
        try:
            values = np.array(rows, dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise CacheError(f"{self.folder}: {name!r} holds no numbers: {error}") from error
        if values.shape != shape:
            raise CacheError(
                f"{self.folder}: {name!r} has the shape {values.shape}, the crops ask for {shape}"
            )
        return values

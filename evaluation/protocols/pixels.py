"""Pixels for protocols that look at frames themselves: every frame is decoded once and kept as uint8 on disk."""

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from evaluation.frames import AnyFrame, decode, sort_key
from training.errors import UserError, full_disk_error


class Pixels:
    """Frames of one size, shared by all runs of a process; close it, or use it as a context manager.

    They lie in files without a name, which the system takes back with the process, however that ends. Reading is safe
    from several threads; adding is not.

    Attributes:
        image_size: side of the square frames, pixels.
        decoded: frames decoded so far.
    """

    def __init__(self, image_size: int, folder: Path | None = None) -> None:
        """`folder` is where the files lie, `image_size`² x 3 bytes a frame; None is the system's temporary folder."""
        self.image_size = image_size
        self.decoded = 0
        self._folder = Path(tempfile.gettempdir()) if folder is None else folder
        self._parts: list[np.ndarray] = []  # uint8 (N, size, size, 3), one per `add` that brought new frames
        self._places: dict[AnyFrame, tuple[int, int]] = {}  # part and row

    def __enter__(self) -> "Pixels":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the disk back; the frames are gone."""
        self._parts.clear()
        self._places.clear()

    def add(self, frames: Iterable[AnyFrame]) -> None:
        """Decode those of `frames` that are not there yet.

        Raises:
            UserError: a frame that cannot be decoded, no such folder, or a disk that is too small for all of them.
        """
        new = sorted(set(frames) - self._places.keys(), key=sort_key)
        if not new:
            return
        needed = len(new) * self.image_size**2 * 3
        too_small = (
            f"the pixels of {len(new)} frames at {self.image_size} px need {needed / 1e9:.3g} GB in "
            f"{str(self._folder)!r}; name a folder on a larger disk for them, or choose a smaller image size"
        )
        if not self._folder.is_dir():
            raise UserError(f"the folder for pixels, {str(self._folder)!r}, does not exist")
        if shutil.disk_usage(self._folder).free < needed:
            raise UserError(too_small)
        # Written, not assigned to a mapping: a full disk then is an error and not the end of the process.
        with tempfile.TemporaryFile(dir=self._folder) as file:
            with full_disk_error(too_small):
                for image in tqdm(decode(new, self.image_size), "pixels", len(new), unit="frame"):
                    file.write(image.tobytes())
                file.flush()
            shape = (len(new), self.image_size, self.image_size, 3)
            self._parts.append(np.memmap(file, np.uint8, mode="r", shape=shape))
        self._places.update({frame: (len(self._parts) - 1, row) for row, frame in enumerate(new)})
        self.decoded += len(new)

    def read(self, frames: Sequence[AnyFrame]) -> np.ndarray:
        """Frames that were added, uint8 (N, image_size, image_size, 3) RGB; `KeyError` for any other."""
        places = [self._places[frame] for frame in frames]
        return np.stack([self._parts[part][row] for part, row in places])

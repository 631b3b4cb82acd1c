"""Masks: which pixels of a video's stored frames show tissue, as 8-bit PNGs in `masks.parquet` beside the manifest.

A clip names its mask in the column `mask`; clips of one video, frame size and crop share one.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import UserError

MASKS_FILE = "masks.parquet"
VALID = 255  # of a PNG; overlays, lettering and what lies outside the circle are 0
CACHED_MASKS = 32  # decoded masks kept per process; 0.1 MB each at a short side of 256

MASK_SCHEMA = pa.schema(
    [
        ("mask_id", pa.string()),
        ("video_id", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("png", pa.binary()),
    ]
)


@dataclass(frozen=True)
class Mask:
    """One row of `masks.parquet`."""

    mask_id: str  # unique in the corpus; follows from the video and the pixels
    video_id: str
    width: int  # pixels of the stored frames
    height: int
    png: bytes  # 8-bit gray, 255 = valid pixel, 0 = overlay, lettering or outside the circle


def make_mask(video_id: str, valid: np.ndarray) -> Mask:
    """The row of a mask.

    Args:
        video_id: whose frames it is for.
        valid: bool (height, width), True = valid.
    """
    height, width = valid.shape
    done, png = cv2.imencode(".png", np.where(valid, VALID, 0).astype(np.uint8))
    if not done:
        raise ValueError(f"OpenCV cannot encode a mask of shape {valid.shape}")
    digest = hashlib.sha256(f"{video_id}\n{width}\n{height}\n".encode() + np.packbits(valid).tobytes())
    return Mask(digest.hexdigest()[:16], video_id, width, height, png.tobytes())


def read_masks(path: Path) -> list[Mask]:
    """The rows of a table of masks in file order."""
    return [Mask(**row) for row in pq.read_table(path, columns=MASK_SCHEMA.names).to_pylist()]


class Masks:
    """The masks of a corpus, open for reading. Make one with `Masks.open`.

    PNGs are held in memory (about 2 kB each) and decoded when asked for, so that DataLoader workers may share it.
    """

    def __init__(self, folder: Path | str, masks: list[Mask]) -> None:
        self._folder = folder
        self._masks = {mask.mask_id: mask for mask in masks}
        self._decoded: OrderedDict[str, np.ndarray] = OrderedDict()

    @classmethod
    def open(cls, folder: str | Path) -> "Masks":
        """The masks of a corpus folder; empty when it has no `masks.parquet`.

        Raises:
            UserError: the file is there but cannot be read.
        """
        folder = Path(folder)
        path = folder / MASKS_FILE
        if not path.is_file():
            return cls(folder, [])
        try:
            return cls(folder, read_masks(path))
        except (OSError, pa.ArrowException) as error:
            raise UserError(
                f"{str(path)!r} cannot be read ({type(error).__name__}: {str(error).splitlines()[0]}): run the same "
                "python -m training.curate command again to complete it"
            ) from error

    def __len__(self) -> int:
        return len(self._masks)

    def __contains__(self, mask_id: object) -> bool:
        return mask_id in self._masks

    def get(self, mask_id: str) -> np.ndarray:
        """Decode one mask.

        Args:
            mask_id: the column `mask` of a clip. Clips with "" have no mask: all their pixels are valid.

        Returns:
            bool (height, width) in pixels of the stored frames, read-only; True = valid.

        Raises:
            UserError: no such mask, or its PNG is broken or of another size than its row says.
        """
        if mask_id in self._decoded:
            self._decoded.move_to_end(mask_id)
            return self._decoded[mask_id]
        where = f"{MASKS_FILE} of corpus {str(self._folder)!r}"
        mask = self._masks.get(mask_id)
        if mask is None:
            raise UserError(f"{where} has no mask {mask_id!r} among its {len(self._masks)}: copy the corpus completely")
        gray = cv2.imdecode(np.frombuffer(mask.png, np.uint8), cv2.IMREAD_GRAYSCALE) if mask.png else None
        if gray is None or gray.shape != (mask.height, mask.width):
            raise UserError(
                f"mask {mask_id!r} in {where} is no PNG of {mask.width} x {mask.height} pixels: curate this corpus "
                "anew, or restore the file"
            )
        valid = gray == VALID
        valid.flags.writeable = False
        self._decoded[mask_id] = valid
        if len(self._decoded) > CACHED_MASKS:
            self._decoded.popitem(last=False)
        return valid

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self._folder, "masks": list(self._masks.values())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

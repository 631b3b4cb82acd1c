"""Staged units: what curating a unit leaves in its folder until its frames are in a shard, and how that is read."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.corpus.labels import resolve_labels
from training.corpus.manifest import Clip, Drop, clip_of_row
from training.corpus.masks import MASKS_FILE, Mask, read_masks
from training.corpus.settings import CurationSettings
from training.corpus.sources import SourceFile, Unit
from training.errors import UserError

UNIT_FILE, IMAGES_FILE = "unit.json", "frames.bin"  # in the folder of a unit
_AGAIN = "remove that folder and run the same command again"


@dataclass(frozen=True)
class FileRecord:
    """What is remembered of a source file, to know it again in the next run."""

    input: str
    path: str
    size: int
    mtime_ns: int
    sha256: str  # "" when it was not opened
    source: str
    procedure: str
    robotic: bool | None
    licence: str
    video_id: str  # "" for a file that belongs to no video
    case_id: str
    frames_sampled: int
    frames_kept: int
    replaced: bool  # the file had other content before, of which nothing was kept: earlier drop rows are void
    overlay: str = ""  # outcome of the search for overlays, see overlay.Overlay; "" without a frame
    deinterlaced: bool = False
    # Seconds between the sampling times of a video and the frames that stand for them, see decoding.Sampling.
    time_error_mean: float | None = None
    time_error_max: float | None = None


@dataclass(frozen=True)
class StagedFrame:
    """A kept frame that waits in `IMAGES_FILE`, with what its row of a shard will say of it."""

    offset: int  # bytes from the beginning of that file
    length: int
    frame_index: int  # native frame number
    timestamp: float  # seconds
    phash: int  # 64-bit perceptual hash of the stored frame
    luma: float  # mean gray level, 0 to 255
    sharpness: float  # variance of the Laplacian of the gray levels


@dataclass(frozen=True)
class StagedClip:
    """A clip whose frames wait in `IMAGES_FILE`."""

    clip: Clip
    frames: list[StagedFrame]


@dataclass(frozen=True)
class StagedUnit:
    """The outcome of one unit."""

    files: list[FileRecord]
    clips: list[StagedClip]
    drops: list[Drop]

    @property
    def num_bytes(self) -> int:
        """Image bytes of the kept frames."""
        return sum(frame.length for clip in self.clips for frame in clip.frames)


def load_unit(folder: Path) -> StagedUnit:
    """Read back what `curate_unit` wrote, without the frames. Raises `UserError` when it is damaged."""
    path = folder / UNIT_FILE
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        clips = [
            StagedClip(clip_of_row(item["clip"]), [StagedFrame(**frame) for frame in item["frames"]])
            for item in plain["clips"]
        ]
        files, drops = [FileRecord(**item) for item in plain["files"]], [Drop(**item) for item in plain["drops"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(path)!r} is damaged, or of another version of this package: {_AGAIN}") from error
    return StagedUnit(files, clips, drops)


def staged_masks(folder: Path) -> list[Mask]:
    """The masks of a staged unit; none when no frame of it was read."""
    path = folder / MASKS_FILE
    return read_masks(path) if path.is_file() else []


def staged_images(folder: Path, clip: StagedClip) -> Iterator[bytes]:
    """The images of one staged clip, in order. Raises `UserError` when they are not all there."""
    path = folder / IMAGES_FILE
    with path.open("rb") as spool:
        for frame in clip.frames:
            spool.seek(frame.offset)
            image = spool.read(frame.length)
            if len(image) < frame.length:
                raise UserError(f"{str(path)!r} is cut short: {_AGAIN}")
            yield image


def file_record(
    file: SourceFile,
    settings: CurationSettings,
    *,
    unit: Unit | None = None,
    sha256: str = "",
    frames_sampled: int = 0,
    frames_kept: int = 0,
    replaced: bool = False,
    overlay: str = "",
) -> FileRecord:
    """The record of a file, with the unit it belongs to, under its own labels and those of this run."""
    labels = resolve_labels(file.labels, settings, file.input)
    return FileRecord(
        file.input,
        file.path,
        file.size,
        file.mtime_ns,
        sha256,
        labels.source,
        labels.procedure,
        labels.robotic,
        labels.licence,
        unit.video_id if unit else "",
        unit.case_id if unit else "",
        frames_sampled,
        frames_kept,
        replaced,
        overlay,
    )

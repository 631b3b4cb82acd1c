"""Endoscapes-Seg50: laparoscopic cholecystectomy stills with semantic masks and the critical view of safety (CVS).

The folder, as re-hosted with one flat annotation file per split::

    ROOT/
        train/
            images/{VIDEO}_{FRAME}.jpg      854 x 480; FRAME counts at 25 fps, one still every 30 s
            masks/{VIDEO}_{FRAME}.png       854 x 480, 8 bit class ids
            annotations.json                {"10_16600": {"annotations": [{"video_id": 10, "ds": [C1, C2, C3], ...}]}}
        val/  ...                           the same
        test/ ...                           the same, optional

Mask values: 0 background, 1 cystic plate, 2 hepatocystic triangle dissection, 3 cystic artery, 4 cystic duct,
5 gallbladder, 6 tool, 255 no label; one published mask holds stray pixels of value 7, so everything above 6 is ignored.
`ds` is the mean of three raters per criterion (0, 1/3, 2/3, 1); a criterion counts as met from 0.5 on.

Sides: the official split is by patient. `train` is the train side; `test` is the test side where the folder has it, and
`val` otherwise (hyper-parameters are never chosen on it). Which one was used stands in the split source.
A structure is present in a frame when the mask holds at least one of its pixels (`MIN_PIXELS`).

Source: Murali et al., The Endoscapes Dataset (arXiv 2312.12429), CC BY-NC-SA 4.0.
"""

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from evaluation.datasets.dataset import (
    DATASETS,
    IGNORE,
    Dataset,
    DatasetReader,
    FrameReference,
    Record,
    find_below,
    read_json,
    read_mask,
    require_paths,
)
from training.errors import UserError

NAME = "endoscapes"
STRUCTURES = ("cystic_plate", "calot_triangle", "cystic_artery", "cystic_duct", "gallbladder", "tool")
MASK_CLASSES = ("background", *STRUCTURES)
MASK_IGNORE = frozenset(range(len(MASK_CLASSES), 256))
CVS_NAMES = ("C1", "C2", "C3")
CVS_THRESHOLD = 0.5  # rater mean from which a criterion counts as met: the majority of three raters
MIN_PIXELS = 1  # pixels that make a structure present: the masks are drawn by hand, so one pixel is already a decision

_KEY = re.compile(r"(?P<video>\d+)_(?P<frame>\d+)")
_SIGNATURE = re.compile(r'"\d+_\d+"\s*:')
_HEAD_CHARACTERS = 4096


def find(root: Path) -> Path | None:
    """The Endoscapes folder at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, "Endoscapes", _is_home)


def scan(root: Path) -> Dataset:
    """Read annotations, masks and image headers of every frame.

    Raises:
        UserError: the first path that is missing, a broken annotation file or entry (by key), an image without
            annotation, a mask of another size than its image, a case on both sides.
    """
    test_folder = "test" if (root / "test").is_dir() else "val"
    sides: list[tuple[str, Literal["train", "test"]]] = [("train", "train"), (test_folder, "test")]
    for folder, _ in sides:
        require_paths(NAME, [root / folder / name for name in ("annotations.json", "images", "masks")])
    records = [record for folder, side in sides for record in _scan_folder(root / folder, side)]
    return Dataset(
        name=NAME,
        root=root,
        records=tuple(records),
        presence_names=STRUCTURES,
        mask_classes=MASK_CLASSES,
        mask_ignore=MASK_IGNORE,
        split_source=f"official Endoscapes-Seg50 split by patient, test side = {test_folder} of official split",
    )


def cvs_labels(record: Record) -> tuple[bool, ...]:
    """Whether each criterion is met: rater mean at least 0.5."""
    if record.cvs is None:
        raise ValueError(f"frame {record.frame} has no CVS scores")
    return tuple(score >= CVS_THRESHOLD for score in record.cvs)


def _is_home(folder: Path) -> bool:
    for file in (folder / "train" / "annotations.json", folder / "val" / "annotations.json"):
        if file.is_file():
            with file.open(encoding="utf-8", errors="replace") as stream:
                return _SIGNATURE.search(stream.read(_HEAD_CHARACTERS)) is not None
    return False


def _scan_folder(folder: Path, side: Literal["train", "test"]) -> list[Record]:
    file = folder / "annotations.json"
    entries = read_json(NAME, file)
    strays = sorted(path.name for path in (folder / "images").glob("*.jpg") if path.stem not in entries)
    if strays:
        raise UserError(f"{NAME}: image {str(folder / 'images' / strays[0])!r} has no entry in {str(file)!r}")
    return [_record(folder, side, file, key, entry) for key, entry in sorted(entries.items(), key=_order)]


def _order(item: tuple[str, object]) -> tuple[int, int, str]:
    match = _KEY.fullmatch(item[0])
    return (int(match["video"]), int(match["frame"]), "") if match else (-1, -1, item[0])


def _record(folder: Path, side: Literal["train", "test"], file: Path, key: str, entry: Any) -> Record:
    match = _KEY.fullmatch(key)
    if not match:
        raise UserError(f"{NAME}: key {key!r} in {str(file)!r} is not of the form VIDEO_FRAME")
    try:
        labels = entry["annotations"][0]
        video, scores = int(labels["video_id"]), [float(score) for score in labels["ds"]]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UserError(
            f"{NAME}: entry {key!r} in {str(file)!r} lacks annotations[0] with 'video_id' and three 'ds' scores"
        ) from error
    if len(scores) != len(CVS_NAMES) or not all(0 <= score <= 1 for score in scores):
        raise UserError(f"{NAME}: entry {key!r} in {str(file)!r} has ds={scores}; three numbers in [0, 1] are expected")
    if video != int(match["video"]):
        raise UserError(f"{NAME}: entry {key!r} in {str(file)!r} says video_id {video}, its name says {match['video']}")
    image, mask = folder / "images" / f"{key}.jpg", folder / "masks" / f"{key}.png"
    require_paths(NAME, [image, mask])
    pixels = read_mask(mask, len(MASK_CLASSES), MASK_IGNORE)
    size = _image_size(image)
    if size != pixels.shape:
        raise UserError(f"{NAME}: mask {str(mask)!r} is {pixels.shape}, its image {size} (height, width)")
    counts = np.bincount(pixels.ravel(), minlength=IGNORE + 1)[1 : len(MASK_CLASSES)]
    return Record(
        case_id=str(video),
        split=side,
        frame=FrameReference(image),
        presence=tuple(bool(count >= MIN_PIXELS) for count in counts),
        mask=mask,
        cvs=(scores[0], scores[1], scores[2]),
    )


def _image_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:  # reads the header only
            return image.height, image.width
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"{NAME}: image {str(path)!r} cannot be read ({error})") from error


DATASETS.register(NAME)(
    DatasetReader(
        name=NAME,
        licence="CC BY-NC-SA 4.0",
        obtain="https://github.com/CAMMA-public/Endoscapes",
        find=find,
        scan=scan,
    )
)

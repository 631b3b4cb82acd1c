"""The synthetic surgical videos of `training/corpus/synthetic.py`, read with their complete ground truth.

The folder::

    ROOT/
        dataset.json                                    names: instruments, classes (index = value in masks), ...
        train/
            videos/{case_id}.mp4                        one video = one case
            ground_truth/{case_id}/
                frames.parquet                          one row a frame: frame_index, tools, visibility, annotated
                semantic/{frame_index:06d}.png          annotated frames only, 8 bit class ids
        test/ ...                                       the same

Used are the annotated frames with visibility "surgical"; black and out-of-body frames carry no surgical label.
Presence is that of the visible tools, in the order of `instruments`.
"""

from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.datasets.dataset import (
    DATASETS,
    Dataset,
    DatasetReader,
    FrameReference,
    Record,
    find_below,
    read_json,
    require_paths,
)
from training.errors import UserError

NAME = "synthetic"
SCHEMA_VERSION = 1
MASK_IGNORE = frozenset({255})

_COLUMNS = ["frame_index", "tools", "visibility", "annotated"]
_SIDES: tuple[Literal["train", "test"], ...] = ("train", "test")


def find(root: Path) -> Path | None:
    """The synthetic dataset at `root` or up to two levels below; `None` if there is none."""
    return find_below(root, NAME, lambda folder: (folder / "dataset.json").is_file())


def scan(root: Path) -> Dataset:
    """Read names and ground truth tables; the videos are not opened.

    Raises:
        UserError: the first path that is missing, another schema, an unknown tool name (by file and row), a case on
            both sides, or a side without usable frames.
    """
    require_paths(NAME, [root / "dataset.json", *(root / side / "videos" for side in _SIDES)])
    header = read_json(NAME, root / "dataset.json")
    version = header.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UserError(f"{NAME}: {str(root / 'dataset.json')!r} has schema_version {version!r}, not {SCHEMA_VERSION}")
    instruments, classes = (_names(root, header, key) for key in ("instruments", "classes"))
    records = []
    for side in _SIDES:
        for video in sorted((root / side / "videos").glob("*.mp4")):
            records += _scan_case(root / side, side, video, instruments)
    return Dataset(
        name=NAME,
        root=root,
        records=tuple(records),
        presence_names=instruments,
        mask_classes=classes,
        mask_ignore=MASK_IGNORE,
        split_source="folders train and test of the synthetic dataset, one video = one case",
    )


def _names(root: Path, header: dict[str, Any], key: str) -> tuple[str, ...]:
    names = header.get(key)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{NAME}: {key!r} in {str(root / 'dataset.json')!r} is not a list of names")
    return tuple(names)


def _scan_case(folder: Path, side: Literal["train", "test"], video: Path, instruments: tuple[str, ...]) -> list[Record]:
    truth = folder / "ground_truth" / video.stem
    file = truth / "frames.parquet"
    require_paths(NAME, [file, truth / "semantic"])
    try:
        rows = pq.read_table(file, columns=_COLUMNS).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{NAME}: {str(file)!r} cannot be read as a table with the columns {_COLUMNS}") from error
    records = []
    for number, row in enumerate(rows):
        if not row["annotated"] or row["visibility"] != "surgical":
            continue
        unknown = sorted(set(row["tools"]) - set(instruments))
        if unknown:
            raise UserError(
                f"{NAME}: row {number} of {str(file)!r} names the tool {unknown[0]!r}; "
                f"known are {', '.join(instruments)}"
            )
        mask = truth / "semantic" / f"{row['frame_index']:06d}.png"
        require_paths(NAME, [mask])
        records.append(
            Record(
                case_id=video.stem,
                split=side,
                frame=FrameReference(video, int(row["frame_index"])),
                presence=tuple(name in row["tools"] for name in instruments),
                mask=mask,
            )
        )
    return records


DATASETS.register(NAME)(
    DatasetReader(
        name=NAME,
        licence="Apache-2.0",
        obtain="python -m training.corpus.synthetic",
        find=find,
        scan=scan,
    )
)

"""Ground truth of the synthetic corpus: typed records and their form on disk."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from training.corpus.synthetic.settings import SPLITS
from training.errors import UserError

SCHEMA_VERSION = 1
DEPTH_UNIT = 0.01  # millimetres per step of a depth image


@dataclass(frozen=True)
class Triplet:
    """An action: instrument, verb, target. An idle visible instrument has the null verb and the null target."""

    instrument: str
    verb: str
    target: str


@dataclass(frozen=True)
class Instance:
    """A structure or a physical instrument in one frame.

    Attributes:
        instance_id: value in the instance image; the same in every frame of the case.
        class_name: one of the dataset's classes (column `class` on disk).
        x1, y1, x2, y2: box in pixels, exclusive maximum.
        area: visible pixels.
    """

    instance_id: int
    class_name: str
    x1: float
    y1: float
    x2: float
    y2: float
    area: int


@dataclass(frozen=True)
class CameraMotion:
    """Motion of the picture since the previous frame, a similarity about the picture's middle.

    A point of the tissue seen at p before is now at zoom * R(rotation) * p + (dx, dy), with p counted in pixels from
    ((width - 1) / 2, (height - 1) / 2), x right, y down, R(a) = [[cos a, -sin a], [sin a, cos a]]. It is the identity
    in the first frame and wherever this or the previous frame does not show the inside of the patient.
    """

    dx: float
    dy: float
    zoom: float
    rotation: float


@dataclass(frozen=True)
class FieldOfView:
    """Circle of the endoscope in pixels; a radius that reaches the corners means the whole picture."""

    cx: float
    cy: float
    radius: float


@dataclass(frozen=True)
class FrameRecord:
    """Everything known about one video frame.

    Attributes:
        frame_index: position in the video, from 0.
        timestamp: seconds, `frame_index / fps`.
        procedure, phase: names; the phase goes on through spoiled spans, as annotators label it.
        tools: instruments of which at least half of the tip is visible, sorted as in the dataset's `instruments`.
        triplets: one per hand whose instrument is in `tools`.
        instances: everything with at least one pixel in the instance image.
        camera: motion since the previous frame.
        visibility: "surgical", "out_of_body" or "black".
        frozen: the picture repeats the previous frame.
        smoke: haze from 0 (clear) to 1.
        fov: circle of the endoscope.
        annotated: whether mask and depth images exist on disk.
    """

    frame_index: int
    timestamp: float
    procedure: str
    phase: str
    tools: tuple[str, ...]
    triplets: tuple[Triplet, ...]
    instances: tuple[Instance, ...]
    camera: CameraMotion
    visibility: str
    frozen: bool
    smoke: float
    fov: FieldOfView
    annotated: bool


@dataclass(frozen=True)
class DatasetInfo:
    """What `dataset.json` says: `classes` is in the order of the values in semantic images, `cases` is by split."""

    schema_version: int
    renderer_version: int
    seed: int
    fps: float
    width: int
    height: int
    annotation_fps: float
    depth_unit: float
    procedures: tuple[str, ...]
    phases: tuple[str, ...]
    instruments: tuple[str, ...]
    verbs: tuple[str, ...]
    targets: tuple[str, ...]
    triplets: tuple[tuple[str, str, str], ...]
    classes: tuple[str, ...]
    cases: dict[str, tuple[str, ...]]
    settings: dict[str, float | int]


@dataclass(frozen=True)
class SyntheticCase:
    """One case on disk: its video, its records and the folder of its images."""

    split: str
    case_id: str
    video: Path
    ground_truth: Path
    records: tuple[FrameRecord, ...]

    def semantic(self, frame_index: int) -> np.ndarray:
        """Class ids (H, W) uint8 of an annotated frame."""
        return self._read("semantic", frame_index)

    def instance(self, frame_index: int) -> np.ndarray:
        """Instance ids (H, W) uint8 of an annotated frame, 0 = none."""
        return self._read("instance", frame_index)

    def depth(self, frame_index: int) -> np.ndarray:
        """Distance from the camera plane (H, W) float32 in millimetres of an annotated frame, 0 = unknown."""
        return self._read("depth", frame_index).astype(np.float32) * np.float32(DEPTH_UNIT)

    def _read(self, kind: str, frame_index: int) -> np.ndarray:
        path = self.ground_truth / kind / f"{frame_index:06d}.png"
        if not path.is_file():
            known = [record.frame_index for record in self.records if record.annotated]
            raise UserError(f"{path} does not exist; annotated frames of {self.case_id} are {known}")
        try:
            # Not cv2: it cannot read PNG in a process that imported decord first (two copies of zlib meet).
            with Image.open(path) as image:
                return np.array(image)
        except OSError as error:
            raise UserError(f"{path} is no readable PNG image: {error}") from error


@dataclass(frozen=True)
class SyntheticDataset:
    """A synthetic corpus on disk."""

    root: Path
    info: DatasetInfo
    cases: tuple[SyntheticCase, ...]


_TRIPLET = pa.struct([(name, pa.string()) for name in ("instrument", "verb", "target")])
_INSTANCE = pa.struct(
    [("instance_id", pa.int64()), ("class", pa.string())]
    + [(name, pa.float64()) for name in ("x1", "y1", "x2", "y2")]
    + [("area", pa.int64())]
)
FRAME_SCHEMA = pa.schema(
    [
        ("frame_index", pa.int64()),
        ("timestamp", pa.float64()),
        ("procedure", pa.string()),
        ("phase", pa.string()),
        ("tools", pa.list_(pa.string())),
        ("triplets", pa.list_(_TRIPLET)),
        ("instances", pa.list_(_INSTANCE)),
        ("camera", pa.struct([(field.name, pa.float64()) for field in fields(CameraMotion)])),
        ("visibility", pa.string()),
        ("frozen", pa.bool_()),
        ("smoke", pa.float64()),
        ("fov", pa.struct([(field.name, pa.float64()) for field in fields(FieldOfView)])),
        ("annotated", pa.bool_()),
    ]
)


def write_records(records: list[FrameRecord], path: Path) -> None:
    """Write `frames.parquet`."""
    rows = [asdict(record) for record in records]
    for row in rows:
        for instance in row["instances"]:
            instance["class"] = instance.pop("class_name")
    pq.write_table(pa.Table.from_pylist(rows, schema=FRAME_SCHEMA), path)


def read_records(path: Path) -> tuple[FrameRecord, ...]:
    """Read `frames.parquet`; `UserError` when it is missing or not of this schema."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; the synthetic corpus is incomplete: render it again")
    table = pq.read_table(path)
    if not table.schema.equals(FRAME_SCHEMA):
        raise UserError(f"{path} has columns {table.schema.names}; expected {FRAME_SCHEMA.names} of schema 1")
    return tuple(_record(row) for row in table.to_pylist())


def _record(row: dict[str, Any]) -> FrameRecord:
    instances = (
        {("class_name" if key == "class" else key): value for key, value in i.items()} for i in row["instances"]
    )
    return FrameRecord(
        **{
            **row,
            "tools": tuple(row["tools"]),
            "triplets": tuple(Triplet(**triplet) for triplet in row["triplets"]),
            "instances": tuple(Instance(**instance) for instance in instances),
            "camera": CameraMotion(**row["camera"]),
            "fov": FieldOfView(**row["fov"]),
        }
    )


def read_info(folder: Path) -> DatasetInfo:
    """Read `dataset.json`; `UserError` when it is missing, broken or of another schema version."""
    path = folder / "dataset.json"
    if not path.is_file():
        raise UserError(f"{folder} is no synthetic corpus: {path.name} is missing in it")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error
    names = {field.name for field in fields(DatasetInfo)}
    if not isinstance(plain, dict) or plain.get("schema_version") != SCHEMA_VERSION or set(plain) != names:
        raise UserError(
            f"{path} is not of schema version {SCHEMA_VERSION}; expected the keys {', '.join(sorted(names))}"
        )
    for name in ("procedures", "phases", "instruments", "verbs", "targets", "classes"):
        plain[name] = tuple(plain[name])
    plain["triplets"] = tuple((i, v, t) for i, v, t in plain["triplets"])
    plain["cases"] = {split: tuple(case_ids) for split, case_ids in plain["cases"].items()}
    return DatasetInfo(**plain)


def read_ground_truth(folder: str | Path) -> SyntheticDataset:
    """Read a synthetic corpus written by `write_dataset`.

    Args:
        folder: the folder that holds `dataset.json`, `train/` and `test/`.

    Raises:
        UserError: no corpus there, or a video or record file of a listed case is missing.
    """
    root = Path(folder)
    info = read_info(root)
    cases = []
    for split in SPLITS:
        for case_id in info.cases[split]:
            video, truth = root / split / "videos" / f"{case_id}.mp4", root / split / "ground_truth" / case_id
            if not video.is_file():
                raise UserError(f"{video} does not exist; the synthetic corpus is incomplete: render it again")
            cases.append(SyntheticCase(split, case_id, video, truth, read_records(truth / "frames.parquet")))
    return SyntheticDataset(root, info, tuple(cases))

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluation.datasets import read_mask, synthetic
from training.errors import UserError

TABLE = "train/ground_truth/case001/frames.parquet"


def test_records(synthetic_folder: Path) -> None:
    dataset = synthetic.scan(synthetic_folder)
    cases = {side: sorted({r.case_id for r in dataset.records if r.split == side}) for side in ("train", "test")}
    assert cases == {
        "train": ["case000", "case001", "case002", "case003"],
        "test": ["case004", "case005"],
    }
    assert dataset.presence_names == ("grasper", "hook")
    assert dataset.mask_classes == ("background", "liver", "grasper", "hook")
    # frames 0, 2, 4, 6 are annotated; frame 6 of the first case is black
    assert [r.frame.frame_index for r in dataset.records if r.case_id == "case000"] == [0, 2, 4]
    assert len(dataset.records) == 6 * 4 - 1
    record = dataset.records[1]
    assert record.frame.path == synthetic_folder / "train" / "videos" / "case000.mp4"
    assert record.presence == (True, False)
    assert record.mask is not None
    mask = read_mask(record.mask, len(dataset.mask_classes), dataset.mask_ignore)
    assert (2 in mask, 3 in mask) == record.presence


def test_found_below(synthetic_folder: Path) -> None:
    assert synthetic.find(synthetic_folder.parent) == synthetic_folder
    assert synthetic.find(synthetic_folder) == synthetic_folder


@pytest.mark.parametrize(
    "missing",
    ["test/videos", "train/ground_truth/case002/frames.parquet", "test/ground_truth/case005/semantic/000002.png"],
)
def test_the_first_missing_path_is_named(fresh_synthetic: Path, missing: str) -> None:
    path = fresh_synthetic / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError, match=f"synthetic: '.*{missing}' is missing; the dataset is incomplete"):
        synthetic.scan(fresh_synthetic)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "has schema_version 2, not 1"),
        ({"instruments": []}, "'instruments' in '.*dataset.json' is not a list of names"),
        ({"classes": [1, 2]}, "'classes' in '.*dataset.json' is not a list of names"),
        ({"instruments": ["hook"]}, "row 2 of '.*case000/frames.parquet' names the tool 'grasper'; known are hook"),
    ],
)
def test_wrong_header(fresh_synthetic: Path, change: dict[str, object], message: str) -> None:
    file = fresh_synthetic / "dataset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=message):
        synthetic.scan(fresh_synthetic)


def test_table_without_a_column(fresh_synthetic: Path) -> None:
    table = pq.read_table(fresh_synthetic / TABLE).drop_columns(["tools"])
    pq.write_table(table, fresh_synthetic / TABLE)
    with pytest.raises(UserError, match=r"case001/frames.parquet' cannot be read as a table with the columns"):
        synthetic.scan(fresh_synthetic)


def test_table_that_is_none(fresh_synthetic: Path) -> None:
    (fresh_synthetic / TABLE).write_bytes(b"no table")
    with pytest.raises(UserError, match=r"case001/frames.parquet' cannot be read as a table with the columns"):
        synthetic.scan(fresh_synthetic)


def test_no_annotated_frame_on_a_side(fresh_synthetic: Path) -> None:
    for case in ("case004", "case005"):
        file = fresh_synthetic / "test" / "ground_truth" / case / "frames.parquet"
        table = pq.read_table(file)
        unseen = pa.array([False] * len(table))
        pq.write_table(table.set_column(table.schema.get_field_index("annotated"), "annotated", unseen), file)
    with pytest.raises(UserError, match="has no usable frame on the test side"):
        synthetic.scan(fresh_synthetic)

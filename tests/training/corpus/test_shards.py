"""Shards: row groups, the `datasets` view of them, and atomicity."""

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from training.corpus.frames import encode_image
from training.corpus.shards import SHARD_SCHEMA, ShardFile, open_shard


def rows(clip_id: str, number: int, image: bytes = b"jpeg"):
    return (
        {
            "image": image,
            "clip_id": clip_id,
            "video_id": "v",
            "case_id": "c",
            "frame_index": index * 25,
            "timestamp": float(index),
            "width": 4,
            "height": 3,
            "phash": 2**63 + index,
            "luma": 90.5,
            "sharpness": 12.0,
        }
        for index in range(number)
    )


def test_row_groups_hold_whole_clips_where_they_fit(tmp_path):
    path = tmp_path / "s.parquet"
    with open_shard(path, 8) as shard:
        firsts = [shard.add(rows(f"k{number}", number), number) for number in (5, 3, 4, 20, 1)]
        assert (shard.num_rows, shard.num_bytes) == (33, 33 * 4)
    assert firsts == [0, 5, 8, 12, 32]
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [8, 4, 8, 8, 5]
    reader = ShardFile(pq.ParquetFile(path))
    assert reader.index.num_rows == 33
    assert [reader.index.locate(row) for row in (0, 7, 8, 11, 12, 31, 32)] == [
        (0, 0),
        (0, 7),
        (1, 0),
        (1, 3),
        (2, 0),
        (4, 3),
        (4, 4),
    ]
    group = reader.read(1)
    assert [group.row(position) for position in range(4)] == [("k4", b"jpeg")] * 4
    assert group.nbytes >= 4 * len(b"k4jpeg")


@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_datasets_decodes_the_images(tmp_path, scene, image_format):
    image = encode_image(scene(1), image_format, 95)
    with open_shard(tmp_path / "s.parquet", 8) as shard:
        shard.add(rows("k", 3, image), 3)
    cache = str(tmp_path / "cache")
    data = datasets.load_dataset("parquet", data_files=str(tmp_path / "s.parquet"), split="train", cache_dir=cache)
    assert isinstance(data.features["image"], datasets.Image)
    picture = np.asarray(data[1]["image"])
    assert picture.shape == (96, 128, 3)
    assert np.abs(picture.astype(int) - scene(1)).mean() < 3
    assert data[2]["timestamp"] == 2.0
    assert datasets.Features.from_arrow_schema(SHARD_SCHEMA).arrow_schema.equals(SHARD_SCHEMA)


def test_images_are_stored_as_they_are(tmp_path):
    with open_shard(tmp_path / "s.parquet", 8) as shard:
        shard.add(rows("k", 2, bytes(range(256)) * 40), 2)
    columns = {
        pq.ParquetFile(tmp_path / "s.parquet").metadata.row_group(0).column(index).path_in_schema: index
        for index in range(8)
    }
    column = pq.ParquetFile(tmp_path / "s.parquet").metadata.row_group(0).column(columns["image.bytes"])
    assert column.compression == "UNCOMPRESSED"
    assert column.statistics is None


def test_a_failure_leaves_no_shard(tmp_path):
    broken = iter([next(iter(rows("k", 1))), {"image": None}])
    with pytest.raises(TypeError), open_shard(tmp_path / "s.parquet", 1) as shard:
        shard.add(broken, 2)
    assert list(tmp_path.iterdir()) == []

"""The frames of a corpus as columns, against the same read clip by clip."""

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.corpus import Corpus
from training.corpus.curation import curate
from training.corpus.duplicates.frame_table import read_frames, read_images, read_thumbnails, thumbnail_of
from training.errors import UserError


@pytest.fixture
def corpus(tmp_path, scene, write_still, settings):
    """Five videos of three frames in several shards, with two frames in a row group."""
    for video in range(5):
        for frame in range(3):
            write_still(tmp_path / "data" / f"v{video}_{frame:03d}.png", np.roll(scene(video), 9 * frame, axis=1))
    curate([tmp_path / "data"], tmp_path / "out", settings(shard_megabytes=0.013, row_group_frames=2))
    assert len(list((tmp_path / "out" / "shards").iterdir())) > 1
    return tmp_path / "out"


def test_columns_and_thumbnails_in_any_order(corpus):
    opened = Corpus.open(corpus)
    clips = list(opened.manifest)[::-1]
    frames = read_frames(corpus, clips)
    wanted = np.array([8, 1, 14, 0, 7])
    shown = read_thumbnails(frames, wanted)
    for thumbnail, number in zip(shown, wanted.tolist(), strict=True):
        clip, position = clips[frames.clip[number]], int(frames.position[number])
        row = pq.read_table(corpus / "shards" / clip.shard).slice(clip.shard_row + position, 1).to_pylist()[0]
        assert (row["clip_id"], row["phash"]) == (clip.clip_id, frames.phash[number])
        assert frames.held_out[number] == (clip.split == "held_out")
        np.testing.assert_array_equal(thumbnail, thumbnail_of(row["image"]["bytes"], "it"))
    parts = list(frames.by_shard(wanted))
    assert [name for name, _, _ in parts] == sorted({clips[frames.clip[number]].shard for number in wanted})
    assert sorted(np.concatenate([mine for _, mine, _ in parts]).tolist()) == [0, 1, 2, 3, 4]
    for _, mine, rows in parts:
        assert rows.tolist() == frames.row[wanted[mine]].tolist() == sorted(rows.tolist())


def test_nothing(corpus):
    frames = read_frames(corpus, [])
    assert len(frames) == 0
    assert list(frames.by_shard(np.arange(0))) == []
    assert read_thumbnails(frames, np.arange(0)).shape == (0, 32, 32)


def test_a_frame_that_is_no_picture_is_named(corpus):
    shard = corpus / "shards" / "shard-00001.parquet"
    rows = pq.read_table(shard).to_pylist()
    rows[2]["image"]["bytes"] = b"no picture"
    schema = pq.read_schema(shard)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), shard)
    frames = read_frames(corpus, list(Corpus.open(corpus).manifest))
    with pytest.raises(UserError, match=r"row 2 of shard .*shard-00001.parquet' is no readable image: copy the corpus"):
        read_thumbnails(frames, np.arange(len(frames)))


def test_a_shard_that_breaks_off_is_named(corpus):
    shard = corpus / "shards" / "shard-00001.parquet"
    content = bytearray(shard.read_bytes())
    with pq.ParquetFile(shard) as file:
        place = file.metadata.row_group(0).column(0).data_page_offset
    content[place : place + 40] = bytes(40)
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"shard .*shard-00001.parquet' cannot be read: "):
        list(read_images(shard, np.arange(3)))


def test_a_thumbnail_is_shrunk_by_area():
    step = np.zeros((64, 64), np.uint8)
    step[:, 32:] = 200
    image = cv2.imencode(".png", step)[1].tobytes()
    np.testing.assert_array_equal(thumbnail_of(image, "it"), np.repeat([[0] * 16 + [200] * 16], 32, axis=0))
    with pytest.raises(UserError, match=r"^it is no readable image: copy the corpus completely$"):
        thumbnail_of(b"no picture", "it")

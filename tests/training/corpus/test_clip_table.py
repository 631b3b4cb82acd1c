"""The manifest as a table: rows, parts, columns, and what opening reads."""

import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest

from training.corpus import clip_table
from training.corpus.clip_table import ClipTable
from training.corpus.manifest import read_clips
from training.corpus.storage import Storage


@pytest.fixture
def folder(write_corpus, tmp_path):
    folder = write_corpus(
        tmp_path / "corpus",
        [
            {
                "num_frames": number + 1,
                "case_id": f"case{number % 3}",
                "split": "held_out" if number % 3 == 2 else "train",
            }
            for number in range(10)
        ],
    )
    path = folder / "manifest.parquet"
    pq.write_table(pq.read_table(path), path, row_group_size=4)  # 4 + 4 + 2
    return folder


def test_it_is_like_the_list_of_clips(folder):
    clips, table = read_clips(folder / "manifest.parquet"), ClipTable.open(Storage.at(folder))
    assert len(table) == 10
    assert list(table) == clips
    assert [table[index] for index in range(10)] == clips
    assert table[-1] == clips[-1]
    assert table[2:9:3] == clips[2:9:3]
    assert table != clips[:9]
    assert list(reversed(table)) == clips[::-1]
    with pytest.raises(IndexError):
        table[10]


def test_parts_keep_the_order_they_were_asked_for_in(folder):
    clips, table = read_clips(folder / "manifest.parquet"), ClipTable.open(Storage.at(folder))
    part = table.select(np.array([9, 0, 5, 4]))
    assert list(part) == [clips[9], clips[0], clips[5], clips[4]]
    assert part[1:] == [clips[0], clips[5], clips[4]]
    assert part.numbers("num_frames").tolist() == [10, 1, 6, 5]
    held_out = table.where("split", "held_out")
    assert held_out == [clips[2], clips[5], clips[8]]
    assert held_out.rows.tolist() == [2, 5, 8]
    assert table.where("split", "nowhere") == []


def test_columns_and_ids(folder):
    table = ClipTable.open(Storage.at(folder))
    assert table.where("split", "held_out").column("case_id").to_pylist() == ["case2"] * 3
    assert table.find(["clip7", "nothing", "clip0", "clip7"]).tolist() == [7, -1, 0, 7]
    assert table.where("split", "held_out").find(["clip5", "clip0"]).tolist() == [1, -1]
    assert table.find([]).tolist() == []


def test_one_row_reads_one_row_group(folder, monkeypatch):
    read = []
    real = ClipTable._read
    monkeypatch.setattr(clip_table.ClipTable, "_read", lambda self, group: read.append(group) or real(self, group))
    table = ClipTable.open(Storage.at(folder))
    part = table.select(np.arange(4, 8))
    assert [table[5].clip_id, table[6].clip_id, part[0].clip_id] == ["clip5", "clip6", "clip4"]
    assert read == [1]


def test_a_pickled_table_reads_anew(folder):
    table = ClipTable.open(Storage.at(folder)).where("split", "train")
    assert pickle.loads(pickle.dumps(table)) == table


def test_a_missing_column_is_named(folder):
    path = folder / "manifest.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["weight"]), path)
    with pytest.raises(KeyError, match="no column weight"):
        ClipTable.open(Storage.at(folder))

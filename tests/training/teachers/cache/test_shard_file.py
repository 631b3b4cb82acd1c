from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from training.errors import UserError
from training.teachers.cache import shard_file
from training.teachers.cache.shard_file import ShardFile, write_shard

NUMBERS = torch.tensor([7, 9, 4])
BOXES = torch.arange(15).view(3, 5)


@pytest.fixture
def rows() -> dict[str, torch.Tensor]:
    return {"t/dense": torch.rand(3, 4, 2, 2).half(), "a/summary": torch.randint(-9, 9, (3, 5), dtype=torch.int8)}


@pytest.fixture
def shard(rows: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    path = tmp_path / "32px" / "view0" / "000000.safetensors"
    write_shard(path, rows, NUMBERS, BOXES, {"codecs_sha256": "x"})
    return path


def test_what_is_written_is_read_in_any_order(shard: Path, rows: dict[str, torch.Tensor]) -> None:
    file = ShardFile(shard)
    found = file.read(["a/summary", "t/dense"], [2, 0], [4, 7], BOXES[[2, 0]])
    for row, parts in zip([2, 0], found, strict=True):
        assert all(torch.equal(parts[name], part[row]) for name, part in rows.items())
    assert file.names == ["a/summary", "t/dense"]
    assert torch.equal(file.numbers, NUMBERS)
    assert file.facts == {"codecs_sha256": "x"}
    (only,) = file.read(["t/dense"], [1], [9], BOXES[[1]])
    assert set(only) == {"t/dense"}
    assert [path.name for path in shard.parent.iterdir()] == [shard.name]


def test_other_views_and_boxes_are_refused(shard: Path) -> None:
    file = ShardFile(shard)
    with pytest.raises(UserError, match=r"000000.safetensors' holds view 9 where view 8 should be; it is a file of"):
        file.read(["t/dense"], [1], [8], BOXES[[1]])
    message = r"view 9 of the box \[5, 6, 7, 8, 9\] \(top, left, .*\), but this run draws \[0, 1, 2, 3, 4\]: the random"
    with pytest.raises(UserError, match=message):
        file.read(["t/dense"], [1], [9], BOXES[[0]])


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_shard_that_was_cut_off_is_damaged(shard: Path, kept: int) -> None:
    shard.write_bytes(shard.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"cache shard '.*000000.safetensors' is damaged .*delete it and run"):
        ShardFile(shard)


def test_a_changed_bit_is_found_in_the_row_that_has_it(shard: Path, rows: dict[str, torch.Tensor]) -> None:
    content = bytearray(shard.read_bytes())
    place = bytes(content).index(rows["t/dense"][1].numpy().tobytes())
    content[place + 3] ^= 16
    shard.write_bytes(content)
    file = ShardFile(shard)
    file.read(["t/dense"], [0, 2], [7, 4], BOXES[[0, 2]])
    file.read(["a/summary"], [1], [9], BOXES[[1]])
    with pytest.raises(
        UserError, match=r"is damaged \(row 1 has changed\): delete it and run python -m training.cache"
    ):
        file.read(["t/dense"], [1], [9], BOXES[[1]])


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cache shard '.*x.safetensors' is missing: delete it and run|is missing: "):
        ShardFile(tmp_path / "x.safetensors")


def test_any_other_file_is_no_shard(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="is damaged"):
        ShardFile(tmp_path / "a.safetensors")


def test_a_full_disk_leaves_nothing_behind(
    rows: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(shard_file, "save_file", save)
    with pytest.raises(UserError, match=r"no space left for '.*x.safetensors': free some and run the same command"):
        write_shard(tmp_path / "x.safetensors", rows, NUMBERS, BOXES, {})
    assert list(tmp_path.iterdir()) == []


def test_the_digest_tells_contents_apart(shard: Path, rows: dict[str, torch.Tensor], tmp_path: Path) -> None:
    digests = {ShardFile(shard).digest()}
    changed = {name: part.clone() for name, part in rows.items()}
    changed["a/summary"][2, 0] += 1
    for number, (parts, numbers, boxes) in enumerate(
        [(changed, NUMBERS, BOXES), (rows, NUMBERS + 1, BOXES), (rows, NUMBERS, BOXES + 1)]
    ):
        write_shard(tmp_path / str(number), parts, numbers, boxes, {})
        digests.add(ShardFile(tmp_path / str(number)).digest())
    assert len(digests) == 4
    write_shard(tmp_path / "again", rows, NUMBERS, BOXES, {"other": "facts"})
    assert ShardFile(tmp_path / "again").digest() == ShardFile(shard).digest()

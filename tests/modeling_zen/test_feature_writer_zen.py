"""Files of features: refused before hours of work where they could not be read, and gone when writing fails."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import modeling_zen.feature_writer_zen as module
from modeling_zen.feature_writer_zen import FeatureRows, open_sink


def rows(count: int = 2) -> FeatureRows:
    numbers = torch.arange(count)
    return FeatureRows(numbers, numbers.double() / 10, torch.arange(4.0 * count).view(count, 4))


def test_header_has_room_for_any_name(tmp_path: Path) -> None:
    """The longest that JSON makes of a character, in names and in what went wrong."""
    sources = ["\N{FACE WITH TEARS OF JOY}" * 60, '"\\\x00' * 40]
    with open_sink(tmp_path / "x.safetensors", sources) as sink:
        for source in sources:
            sink.append(source, rows())
        sink.finish({source: source * 20 for source in sources})
    assert torch.equal(load_file(tmp_path / "x.safetensors")[f"{sources[0]}/features"], rows().features)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert json.loads(file.metadata()["errors"])[sources[1]] == (sources[1] * 20)[:300]


def test_too_many_videos_for_a_header(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"x.safetensors' cannot hold 20000 videos: .*; write .parquet, or fewer videos"
    ):
        open_sink(tmp_path / "x.safetensors", [f"video {index}" for index in range(20000)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.safetensors", "x.parquet"])
def test_names_that_are_no_unicode(name: str, tmp_path: Path) -> None:
    """Of files in Latin-1, as Python spells their bytes."""
    with pytest.raises(ValueError, match=rf"the name 'M.*ller.mp4' of a video is no Unicode, so {name} cannot hold it"):
        open_sink(tmp_path / name, [b"M\xfcller.mp4".decode(errors="surrogateescape")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.safetensors", "x.parquet"])
def test_a_full_disk_leaves_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROW_GROUP_BYTES", 1)

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    def write(sink: Any) -> None:
        with sink:
            sink.append("a", rows())
            assert len(list(tmp_path.iterdir())) == 1
            monkeypatch.setattr(sink, "_close", full)
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write(open_sink(tmp_path / name, ["a"]))
    assert list(tmp_path.iterdir()) == []

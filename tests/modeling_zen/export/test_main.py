"""`python -m modeling_zen.export`, in this process."""

from pathlib import Path

import pytest

from modeling_zen.export import ZenExportedModel
from modeling_zen.export.__main__ import _size, main


def test_it_exports_and_prints_the_report(
    saved: Path, frames: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(saved), str(tmp_path / "out"), "--size", "32x48", "--calibration", str(frames), "--labeled"])
    printed = capsys.readouterr().out
    assert '"balanced_accuracy"' in printed
    assert "ZenExportedModel.from_pretrained" in printed
    assert ZenExportedModel.from_pretrained(tmp_path / "out").size == (32, 48)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "big"], "error: --size must be 224, 224x320"),
        (["--size", "100"], "error: an image of 100 x 100 pixels"),
        (["--format", "caffe"], "error: unknown format 'caffe'"),
        (["--precision", "int8"], "error: int8 needs real frames"),
        (["--calibration", "nowhere"], "error: nowhere does not exist"),
    ],
)
def test_a_mistake_is_one_line(
    options: list[str], message: str, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(saved), str(tmp_path / "out"), *options])
    assert left.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("error:")] == [lines[-1]]
    assert lines[-1].startswith(message)


def test_sizes_are_height_by_width() -> None:
    assert [_size(text) for text in ("224", "64x32", "any", "processor")] == [(224, 224), (64, 32), None, "processor"]

import pickle
from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets.restricted_pickle import read_pickle
from training.errors import UserError


class Intruder:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_containers_text_and_numbers(protocol: int, tmp_path: Path) -> None:
    content = {"a": [{"b": 1, "c": 2.5, "d": ("e", None, True)}]}
    (tmp_path / "a.pickle").write_bytes(pickle.dumps(content, protocol))
    assert read_pickle("d", tmp_path / "a.pickle") == content


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_is_called(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "a.pickle").write_bytes(pickle.dumps([Intruder(tmp_path / "trace")], protocol))
    with pytest.raises(UserError, match=r"d: '.*a.pickle' cannot be read as a pickle of plain .* \(it asks for "):
        read_pickle("d", tmp_path / "a.pickle")
    assert not (tmp_path / "trace").exists()


def test_other_types_and_broken_files(tmp_path: Path) -> None:
    file = tmp_path / "a.pickle"
    for content in (pickle.dumps(np.int64(3)), pickle.dumps({"a": 1})[:-3], b"", b"no pickle", b"\x80\x05\x85."):
        file.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as a pickle of plain containers, text and numbers"):
            read_pickle("d", file)
    with pytest.raises(UserError, match=r"b.pickle' is missing"):
        read_pickle("d", tmp_path / "b.pickle")

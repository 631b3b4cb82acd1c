from pathlib import Path
from typing import NamedTuple

import pytest

from training.errors import UserError
from training.teachers.cache import estimate
from training.teachers.cache.estimate import check_space, show_bytes


class Usage(NamedTuple):
    free: int


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []

    def usage(path: Path) -> Usage:
        looked.append(path)
        return Usage(3_000_000)

    monkeypatch.setattr(estimate.shutil, "disk_usage", usage)
    folder = tmp_path / "not" / "there"
    check_space(folder, 3_000_000, "x")
    with pytest.raises(
        UserError, match=r"needs 1.2 TB \(4 frames\), but '.*' has 3 MB free: take cache.form=int8 or phi"
    ):
        check_space(folder, 1_200_000_000_000, "4 frames")
    assert looked == [tmp_path, tmp_path]


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (350_400_000, "350 MB"), (999_900, "1 MB"), (2.5e12, "2.5 TB")],
)
def test_sizes_are_shown_in_decimal_units(count: float, shown: str) -> None:
    assert show_bytes(count) == shown

import pytest

from training.distributed import start_processes
from training.errors import UserError


def test_processes_that_do_not_know_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert start_processes().num_processes == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes were started, but each would run alone on cpu"):
        start_processes()

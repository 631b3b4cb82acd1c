import errno

import pytest

from training.errors import UserError, full_disk_error, run_entry


def test_user_error_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise UserError("the folder 'x' does not exist")

    with pytest.raises(SystemExit) as stop:
        run_entry(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: the folder 'x' does not exist\n"


def test_our_own_bugs_keep_their_traceback() -> None:
    def main() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        run_entry(main)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_sentence(code: int) -> None:
    full = OSError(code, "full")
    with pytest.raises(UserError, match=r"^no space left for 'x'$") as caught, full_disk_error("no space left for 'x'"):
        raise full
    assert caught.value.__cause__ is full


def test_other_errors_of_a_disk_pass() -> None:
    denied = PermissionError(errno.EACCES, "denied")
    with pytest.raises(PermissionError) as caught, full_disk_error("no space left for 'x'"):
        raise denied
    assert caught.value is denied

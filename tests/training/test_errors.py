import pytest

from training.errors import UserError, run_entry


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

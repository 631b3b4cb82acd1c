"""Only an earlier page of the same command may be replaced."""

import pytest

from training.errors import UserError
from training.report.output import refuse_other_file


def test_only_an_earlier_page_of_the_command_passes(tmp_path):
    page = tmp_path / "page.html"
    refuse_other_file(page, "a.command")
    page.write_text("<!DOCTYPE html>\n<!-- made by a.command -->\n<html>")
    refuse_other_file(page, "a.command")
    other = r"output '.*page.html' exists and is no report of this command: choose another name"
    with pytest.raises(UserError, match=other):
        refuse_other_file(page, "a.comm")
    page.write_text("mine" + " " * 200 + "<!-- made by a.command -->")
    with pytest.raises(UserError, match=other):
        refuse_other_file(page, "a.command")
    with pytest.raises(UserError, match=r"is a folder: name a file that ends in .html"):
        refuse_other_file(tmp_path, "a.command")

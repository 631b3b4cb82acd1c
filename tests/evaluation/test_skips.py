"""The skip list: what is appended is read, the latest reason for each place."""

from pathlib import Path

import pytest

from evaluation.skips import Skip, append_skips, read_skips, skips_path
from training.errors import UserError


def test_what_is_appended_is_read_and_the_latest_reason_counts(tmp_path: Path) -> None:
    results = tmp_path / "runs" / "results.jsonl"
    assert read_skips(results) == []
    first = Skip("phase_cholec80", "lora", "", "resnet50", "no attention layers", "2026-01-01T00:00:00+00:00")
    later = Skip("phase_cholec80", "lora", "", "resnet50", "no memory left", "2026-01-02T00:00:00+00:00")
    other = Skip("cvs", "", "", "", "data not found", "2026-01-01T00:00:00+00:00")
    append_skips(results, [first, other])
    append_skips(results, [later])
    append_skips(results, [])
    assert skips_path(results) == tmp_path / "runs" / "results.skipped.jsonl"
    assert read_skips(results) == [later, other]


@pytest.mark.parametrize("line", ["{", "[]", '{"task": "a"}', '{"task": 1}'])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    results = tmp_path / "results.jsonl"
    append_skips(results, [Skip("a", "b", "c", "d", "e", "f")])
    with skips_path(results).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=r"line 2 of skip list '.*results.skipped.jsonl' is no object of the texts"):
        read_skips(results)

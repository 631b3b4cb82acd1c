"""The table of results of others: every row has its source, and a card shows those of its tasks."""

import pytest
import yaml

from evaluation.tasks import TASKS
from hub_cards.reported import CHECKED, read_reported, reported_for
from training.errors import UserError


def test_every_shipped_row_has_task_protocol_and_source():
    rows = read_reported()
    assert len(rows) > 40
    for row in rows:
        assert row.task in TASKS
        assert row.checked in CHECKED
        assert all((row.model, row.metric, row.value, row.protocol, row.source))
    assert len(set(rows)) == len(rows)


def test_a_card_shows_rows_of_its_tasks():
    rows = read_reported()
    found = reported_for(["triplet_cholect50", "phase_m2cai16@fold_1", "presence_endoscapes"], rows)
    assert [row.task for row in found] == ["triplet_cholect50"] + ["phase_m2cai16"] * 5
    assert found[0].value == "39.54"
    assert reported_for(["presence_synthetic"], rows) == []


def test_a_row_without_a_source_or_of_no_task_is_refused(tmp_path):
    path = tmp_path / "reported.yaml"
    row = {"task": "phase_cholec80", "model": "m", "metric": "accuracy", "value": "1"}
    group = {"source": "s", "protocol": "p", "checked": "second hand", "rows": [row]}
    path.write_text(yaml.safe_dump([group]))
    assert read_reported(path)[0].value == "1"
    path.write_text(yaml.safe_dump([{**group, "source": ""}]))
    with pytest.raises(ValueError, match="lacks a source, a protocol"):
        read_reported(path)
    path.write_text(yaml.safe_dump([{key: value for key, value in group.items() if key != "source"}]))
    with pytest.raises(UserError, match="has no 'source'"):
        read_reported(path)
    path.write_text(yaml.safe_dump([{**group, "rows": [{**row, "task": "phase_cholec81"}]}]))
    with pytest.raises(ValueError, match="unknown task 'phase_cholec81'"):
        read_reported(path)

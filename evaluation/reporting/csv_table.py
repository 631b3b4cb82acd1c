"""All records as one table in CSV, a row each."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from evaluation.reporting.results import Found
from training.report.rendering import one_line

_ACTS = ("=", "+", "-", "@")  # what a spreadsheet takes for the beginning of a formula


def csv_table(found: Sequence[Found]) -> str:
    """The table with its header; names that a spreadsheet would run get an apostrophe before them."""
    file = io.StringIO()
    rows = [_row(each) for each in found]
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _inert(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _row(found: Found) -> dict[str, Any]:
    record = found.record
    low, high = record.interval or (None, None)
    paired = record.paired
    paired_low, paired_high = (paired.interval if paired else None) or (None, None)
    return {
        "results_file": found.file.name,
        "task": record.task,
        "dataset": record.dataset,
        "split": record.split.name,
        "protocol": record.protocol,
        "probe": record.probe,
        "shots": record.shots.count if record.shots else None,
        "shots_unit": record.shots.unit if record.shots else None,
        "subset": record.shots.subset if record.shots else None,
        "seeds": " ".join(str(seed) for seed in record.seeds),
        "model": record.model,
        "role": record.model_role,
        "metric": record.metric,
        "variant": record.variant,
        "primary": record.primary,
        "higher_is_better": record.higher_is_better,
        "value": record.value,
        "interval_low": low,
        "interval_high": high,
        "floor_majority": record.floors.majority,
        "floor_random_init": record.floors.random_init,
        "floor_histogram": record.floors.histogram,
        "student_minus_model": paired.difference if paired else None,
        "student_minus_model_low": paired_low,
        "student_minus_model_high": paired_high,
        "student_sha256": record.student_sha256,
        "train_cases": len(record.split.train_cases),
        "val_cases": len(record.split.val_cases),
        "test_cases": len(record.split.test_cases),
        "pretraining_overlap": record.pretraining_overlap,
        "hyperparameters": json.dumps(dict(record.hyperparameters.values), sort_keys=True),
        "chosen_on": record.hyperparameters.chosen_on,
        "settings": json.dumps(dict(record.settings), sort_keys=True),
        "predictions": record.predictions,
        "backbone": record.backbone.id,
        "revision": record.backbone.revision,
        "weights_sha256": record.backbone.weights_sha256,
        "preprocessing_sha256": record.backbone.preprocessing_sha256,
        "device": record.device,
        "seconds": record.seconds,
        "created": record.created,
    }


def _inert(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if text.startswith(_ACTS) else text

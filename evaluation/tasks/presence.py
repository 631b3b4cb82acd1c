"""Presence of tools or structures in a frame, multi-label."""

from evaluation.datasets import Dataset
from evaluation.tasks.labels import METRIC, PROBES, LabelTask
from evaluation.tasks.task import register_dataset_task

FAMILY = "presence"


def build(dataset: Dataset) -> LabelTask:
    """Presence of each of `dataset.presence_names`."""
    return LabelTask(dataset, dataset.presence_names, lambda record: record.presence)


for _dataset in ("synthetic", "endoscapes"):
    register_dataset_task(f"presence_{_dataset}", FAMILY, _dataset, METRIC, PROBES, build)

"""Critical view of safety: are criteria C1, C2, C3 met in a frame (at least two of three raters)."""

from evaluation.datasets import Dataset
from evaluation.datasets.endoscapes import CVS_NAMES, cvs_labels
from evaluation.tasks.labels import METRIC, PROBES, LabelTask
from evaluation.tasks.task import register_dataset_task


def build(dataset: Dataset) -> LabelTask:
    """The three criteria, from the mean of the raters binarised at 0.5."""
    return LabelTask(dataset, CVS_NAMES, cvs_labels)


register_dataset_task("cvs_endoscapes", "cvs", "endoscapes", METRIC, PROBES, build)

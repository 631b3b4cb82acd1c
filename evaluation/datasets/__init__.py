"""Dataset readers: one file per dataset, its real folder layout -> typed frame records or labels along videos."""

from evaluation.datasets import cholec80, cholect50, endoscapes, synthetic
from evaluation.datasets.dataset import DATASETS, Dataset, DatasetReader, FrameReference, Record, read_mask
from evaluation.datasets.workflow import WORKFLOW_DATASETS

__all__ = [
    "DATASETS",
    "WORKFLOW_DATASETS",
    "Dataset",
    "DatasetReader",
    "FrameReference",
    "Record",
    "cholec80",
    "cholect50",
    "endoscapes",
    "read_mask",
    "synthetic",
]

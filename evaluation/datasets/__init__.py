"""Dataset readers: one file per dataset, its real folder layout -> typed frame records."""

from evaluation.datasets import endoscapes, synthetic
from evaluation.datasets.dataset import DATASETS, Dataset, DatasetReader, FrameReference, Record, read_mask

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetReader",
    "FrameReference",
    "Record",
    "endoscapes",
    "read_mask",
    "synthetic",
]

"""Dataset readers: one file per dataset, its real folder layout -> typed frame records or labels along videos."""

from evaluation.datasets import (
    autolaparo,
    cataract101,
    cholec80,
    cholect50,
    endoscapes,
    grasp,
    heichole,
    jigsaws,
    m2cai16_tool,
    m2cai16_workflow,
    multibypass140,
    pitvis,
    psi_ava,
    sar_rarp50,
    synthetic,
)
from evaluation.datasets.dataset import DATASETS, Dataset, DatasetReader, FrameReference, Record, read_mask
from evaluation.datasets.workflow import WORKFLOW_DATASETS

__all__ = [
    "DATASETS",
    "WORKFLOW_DATASETS",
    "Dataset",
    "DatasetReader",
    "FrameReference",
    "Record",
    "autolaparo",
    "cataract101",
    "cholec80",
    "cholect50",
    "endoscapes",
    "grasp",
    "heichole",
    "jigsaws",
    "m2cai16_tool",
    "m2cai16_workflow",
    "multibypass140",
    "pitvis",
    "psi_ava",
    "read_mask",
    "sar_rarp50",
    "synthetic",
]

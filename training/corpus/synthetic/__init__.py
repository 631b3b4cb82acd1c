"""Synthetic laparoscopic videos with complete ground truth.

`write_dataset(folder, settings)` renders a corpus (`python -m training.corpus.synthetic OUT [key=value ...]`),
`read_ground_truth(folder)` reads it back, `render_case(settings, split, index)` renders one case in memory.

On disk, with the settings' defaults::

    OUT/dataset.json                                  settings and vocabularies (`DatasetInfo`)
    OUT/{train,test}/videos/case000.mp4               one video per case; case names are unique over both splits
    OUT/{train,test}/ground_truth/case000/
        frames.parquet                                one row per video frame (`FrameRecord`)
        semantic/000000.png                           uint8 class ids of the annotated frames
        instance/000000.png                           uint8 instance ids, 0 = none
        depth/000000.png                              uint16, 0.01 mm from the camera plane, 0 = unknown
"""

from training.corpus.synthetic.case import RenderedCase, RenderedFrame, render_case
from training.corpus.synthetic.records import (
    CameraMotion,
    DatasetInfo,
    FieldOfView,
    FrameRecord,
    Instance,
    SyntheticCase,
    SyntheticDataset,
    Triplet,
    read_ground_truth,
)
from training.corpus.synthetic.settings import SyntheticSettings
from training.corpus.synthetic.writer import describe, write_dataset

__all__ = [
    "CameraMotion",
    "DatasetInfo",
    "FieldOfView",
    "FrameRecord",
    "Instance",
    "RenderedCase",
    "RenderedFrame",
    "SyntheticCase",
    "SyntheticDataset",
    "SyntheticSettings",
    "Triplet",
    "describe",
    "read_ground_truth",
    "render_case",
    "write_dataset",
]

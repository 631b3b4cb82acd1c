"""Tasks: one file per family; importing this fills the registry."""

from evaluation.tasks import cvs, presence, segmentation, teacher_agreement
from evaluation.tasks.task import TASKS, LoadedTask, Sources, Task, Variant

__all__ = [
    "TASKS",
    "LoadedTask",
    "Sources",
    "Task",
    "Variant",
    "cvs",
    "presence",
    "segmentation",
    "teacher_agreement",
]

"""Tasks: a catalog over datasets, and what needs a file of its own; importing this fills the registry."""

from evaluation.tasks import catalog, teacher_agreement, transfers
from evaluation.tasks.problems import ProblemTask
from evaluation.tasks.task import TASKS, Aim, LoadedTask, Outcome, Sources, SplitCases, Task

__all__ = [
    "TASKS",
    "Aim",
    "LoadedTask",
    "Outcome",
    "ProblemTask",
    "Sources",
    "SplitCases",
    "Task",
    "catalog",
    "teacher_agreement",
    "transfers",
]

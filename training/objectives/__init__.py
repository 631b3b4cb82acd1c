"""Objectives: one pretraining strategy per file; importing this fills the registry."""

from training.objectives import dino, distillation, ijepa, mae, moco, supervised
from training.objectives.objective import STRATEGIES, Objective, Setup

__all__ = ["STRATEGIES", "Objective", "Setup", "dino", "distillation", "ijepa", "mae", "moco", "supervised"]

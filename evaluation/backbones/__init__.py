"""Backbones: the student, its floors, its teachers and its peers behind one interface."""

from evaluation.backbones.backbone import Backbone, Features, Identity, NetworkBackbone, Role
from evaluation.backbones.color_histogram import ColorHistogram
from evaluation.backbones.random_init import random_init
from evaluation.backbones.teacher import TeacherBackbone
from evaluation.backbones.zen import load_zen

__all__ = [
    "Backbone",
    "ColorHistogram",
    "Features",
    "Identity",
    "NetworkBackbone",
    "Role",
    "TeacherBackbone",
    "load_zen",
    "random_init",
]

"""Backbones: the student, its floors and its teachers behind one interface."""

from evaluation.backbones.backbone import Backbone, Features, Identity, Role
from evaluation.backbones.color_histogram import ColorHistogram
from evaluation.backbones.teacher import TeacherBackbone
from evaluation.backbones.zen import ZenBackbone, load_zen, random_init

__all__ = [
    "Backbone",
    "ColorHistogram",
    "Features",
    "Identity",
    "Role",
    "TeacherBackbone",
    "ZenBackbone",
    "load_zen",
    "random_init",
]

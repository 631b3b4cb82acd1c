"""Backbones: the student, its floors, its teachers and its peers behind one interface."""

from evaluation.backbones.backbone import Backbone, Features, Identity, NetworkBackbone, Role
from evaluation.backbones.color_histogram import ColorHistogram
from evaluation.backbones.loading import load_backbone
from evaluation.backbones.peers import PEERS, Peer
from evaluation.backbones.random_init import random_init
from evaluation.backbones.teacher import TeacherBackbone
from evaluation.backbones.zen import load_zen

__all__ = [
    "PEERS",
    "Backbone",
    "ColorHistogram",
    "Features",
    "Identity",
    "NetworkBackbone",
    "Peer",
    "Role",
    "TeacherBackbone",
    "load_backbone",
    "load_zen",
    "random_init",
]

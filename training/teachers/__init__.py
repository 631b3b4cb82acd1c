"""Teachers: who they are, how they are loaded and checked, and how their features are normalised."""

from training.teachers.normalizer import FeatureNormalizer
from training.teachers.registry import TEACHERS
from training.teachers.spec import TeacherSpec
from training.teachers.teacher import Teacher, TeacherOutput, TeacherParts, load_teacher, open_teacher

__all__ = [
    "TEACHERS",
    "FeatureNormalizer",
    "Teacher",
    "TeacherOutput",
    "TeacherParts",
    "TeacherSpec",
    "load_teacher",
    "open_teacher",
]

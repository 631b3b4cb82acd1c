"""All public lists; importing this file fills the registry."""

from training.corpus.public_lists import gensurgery, lemon, surgenet
from training.corpus.public_lists.listed import LISTS

__all__ = ["LISTS", "gensurgery", "lemon", "surgenet"]

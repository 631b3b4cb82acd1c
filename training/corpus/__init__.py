"""The corpus room: raw surgical videos and images become clean, sharded frames with a manifest and a drop report."""

from training.corpus.corpus import Corpus
from training.corpus.manifest import Clip, Drop

__all__ = ["Clip", "Corpus", "Drop"]

"""Protocols: how a backbone's features become predictions, with every choice made on training cases."""

from evaluation.protocols import frozen
from evaluation.protocols.selection import Chosen

PROTOCOLS = (frozen.NAME,)

__all__ = ["PROTOCOLS", "Chosen", "frozen"]

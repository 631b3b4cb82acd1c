"""Protocols: how a backbone becomes predictions, with every choice made on validation or training cases."""

from evaluation.protocols import attentive, knn, linear, temporal  # what they register are the probes
from evaluation.protocols.selection import Chosen

PROTOCOLS = ("frozen", "few_shot", "lora", "full_finetune", "zero_shot", "transfer")

__all__ = ["PROTOCOLS", "Chosen", "attentive", "knn", "linear", "temporal"]

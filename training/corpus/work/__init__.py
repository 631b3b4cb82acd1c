"""Curating the units of a run: one task each, done in this process, by local worker processes, or by a Ray cluster."""

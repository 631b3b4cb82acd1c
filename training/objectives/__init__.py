"""Pretraining strategies: one file each, a module whose forward maps a batch to named losses."""

"""Leakage: whether what is tested on was trained on, by name, by file, by picture and by public knowledge."""

"""Metrics: one folder each, pure numpy functions under a thin `evaluate.Metric`, loadable by path."""

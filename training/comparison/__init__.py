"""Compare pretraining strategies: same student, data and frames; scores, floors and compute side by side."""

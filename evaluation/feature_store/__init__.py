"""What `evaluation.features` keeps its features in: parts of rows, in memory or in a folder on disk."""

"""Pretraining of ZEN: corpus, teachers, losses, objectives and the loop that joins them."""

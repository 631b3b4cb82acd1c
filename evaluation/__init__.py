"""The benchmark: datasets, tasks, backbones, protocols, metrics and the records they leave."""

"""Teachers' features of fixed views on disk: written once by `training.cache_teachers`, read by training."""

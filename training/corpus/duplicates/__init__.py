"""Near-duplicates by perceptual hash and by embedding: found, confirmed, clustered and listed in duplicates.parquet."""

"""The report of the benchmark: tables, paired comparisons, ranks and plots, from result records and predictions."""

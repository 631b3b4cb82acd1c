"""Label-free measures of what a student has learned: one formula per file, and the report that puts them together."""

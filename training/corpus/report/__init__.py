"""The report of a corpus as one HTML page: what it holds, what was left out and why, with pictures of both."""

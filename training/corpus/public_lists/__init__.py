"""Public lists of surgical videos and frames, read as labels for the files that the user has of them.

They name videos on sites whose terms forbid fetching files, so nothing is fetched: each list is one file here that
matches names of the user's own files to its entries, and `python -m training.corpus.public_lists` writes the source
manifest. A new list is its file and an import in `lists.py`.
"""

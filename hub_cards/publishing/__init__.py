"""From a folder on disk to a repository on the Hub: checks before anything is sent, then what changed and no more."""

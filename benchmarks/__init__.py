"""Speed of ZEN, measured in one process as ratios; each module is a command."""

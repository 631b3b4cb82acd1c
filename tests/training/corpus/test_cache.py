"""The cache of what was read last: order, size, processes."""

import os
import pickle

from training.corpus.cache import ReadCache


def test_the_least_recently_used_goes_first():
    cache, made = ReadCache(2), []
    for key in "abacab":
        cache.get(key, lambda key=key: made.append(key) or key)
    assert made == ["a", "b", "c", "b"]
    assert len(cache) == 2


def test_sizes_are_summed_and_the_newest_stays():
    cache = ReadCache(10)
    for value in (4, 4, 4, 30):
        assert cache.get((value, len(cache)), lambda value=value: value, lambda made: made) == value
    assert len(cache) == 1


def test_copies_for_other_processes_are_empty(monkeypatch):
    cache = ReadCache(5)
    cache.get("file", lambda: 1)
    assert len(pickle.loads(pickle.dumps(cache))) == 0
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as after a fork
    assert cache.get("file", lambda: 2) == 2

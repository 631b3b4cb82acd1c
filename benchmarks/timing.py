"""Timings that can be compared: the candidates take turns in one process, and ratios are formed within each turn."""

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def take_turns(
    candidates: Mapping[str, Callable[[], Any]], *, rounds: int, seed: int = 0, warm_up: int = 1
) -> dict[str, list[float]]:
    """Run every candidate once per round, in a new order each time, so that a slow minute of the machine hits all.

    Returns:
        Per candidate the wall-clock seconds of each round.
    """
    order = random.Random(seed)
    for _ in range(warm_up):
        for run in candidates.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        names = list(candidates)
        order.shuffle(names)
        for name in names:
            start = time.perf_counter()
            candidates[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def speed_ratio(seconds: Mapping[str, list[float]], name: str, against: str) -> tuple[float, float, float]:
    """How many times as fast `name` is: median and quartiles of the ratios of the rounds."""
    ratios = [other / own for own, other in zip(seconds[name], seconds[against], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return middle, low, high


def show_ratio(ratio: tuple[float, float, float]) -> str:
    """`1.05 [1.02, 1.07]`: median and quartiles."""
    return f"{ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]"

"""What the processes of a run tell each other."""

from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


def gather(value: T) -> list[T]:
    """The values of all processes in the order of their ranks, on every process; of one process its own."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return [value]
    values: list[T | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return [each for each in values if each is not None]


def any_process(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set on any process."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return flag
    total = torch.tensor(int(flag), device=device)
    distributed.all_reduce(total)
    return bool(total)


def sum_of_processes(value: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    total = value.clone()
    distributed.all_reduce(total)
    return total


def mean_of_processes(value: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over all processes."""
    return sum_of_processes(value) / (distributed.get_world_size() if distributed.is_initialized() else 1)


def rows_of_processes(value: torch.Tensor) -> torch.Tensor:
    """The rows of all processes in the order of their ranks, `(n, ...) -> (processes * n, ...)`; all have n of them."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    parts = [torch.empty_like(value) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, value.contiguous())
    return torch.cat(parts)

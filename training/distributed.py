"""What the processes of a run tell each other."""

import os
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import distributed

from training.errors import UserError

T = TypeVar("T")


def start_processes() -> PartialState:
    """The processes that `accelerate launch` started, on the CPU where `ACCELERATE_USE_CPU` says so.

    Raises:
        UserError: several were started, but none of them knows of the others: each would do all of the work.
    """
    state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != state.num_processes:
        raise UserError(
            f"{started} processes were started, but each would run alone on {state.device}; set "
            "ACCELERATE_USE_CPU=true for processes on the CPU, and see training/accelerate for launch configs"
        )
    return state


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

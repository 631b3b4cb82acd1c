"""Run by test_processes.py on two processes: all strategies under DDP, and one with its moving average in shards."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from training.objectives import Objective
from training.objectives.moco import MocoObjective


def load_waves() -> Any:
    spec = importlib.util.spec_from_file_location("waves", Path(__file__).with_name("conftest.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WAVES = load_waves()


def train(model: torch.nn.Module, objective: Objective) -> None:
    """Two steps; each process sees frames of its own."""
    optimizer = torch.optim.AdamW([each for each in objective.parameters() if each.requires_grad], lr=1e-3)
    rank = distributed.get_rank()
    for step in range(1, 3):
        first = 10 * step + 5 * rank
        batch = WAVES.waves(range(first, first + 4), first, objective.crops)
        torch.stack(list(model(batch).values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        objective.after_step(step, 2)


def main() -> None:
    for name in ("dino", "ijepa", "mae", "moco", "supervised"):
        objective: Objective = WAVES.build_strategy(name)
        before = {key: value.clone() for key, value in objective.state_dict().items()}
        # An unused parameter would be an error in the second step.
        train(DistributedDataParallel(objective, broadcast_buffers=False), objective)
        after = objective.state_dict()
        assert any(not torch.equal(value, before[key]) for key, value in after.items() if key.startswith("student"))
        for key, value in after.items():
            both = [torch.empty_like(value) for _ in range(2)]
            distributed.all_gather(both, value)
            assert torch.equal(both[0], both[1]), f"{name}: {key} differs between the processes"
        if isinstance(objective, MocoObjective):
            assert int(objective.queue_next) == 2 * 2 * 2 * 4  # processes, steps, views, frames
            assert {10, 15, 20, 25} < set(objective.queue_clips.tolist())

    objective = WAVES.build_strategy("ijepa")
    weight = objective.target.network.norm.weight.clone()
    mesh = init_device_mesh("cpu", (2,))
    for layer in (*objective.student.layers, *objective.target.network.layers):
        fully_shard(layer, mesh=mesh)
    fully_shard(objective, mesh=mesh)
    train(objective, objective)
    moved = objective.target.network.norm.weight.full_tensor()
    assert not torch.equal(moved, weight)


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    main()
    distributed.destroy_process_group()

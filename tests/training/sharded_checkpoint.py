"""Run by test_checkpointing.py on two processes: a model in shards (FSDP2) is saved whole and resumed bit-equal."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from modeling_zen import ZenConfig, ZenModel
from training.checkpointing import Trainer, restore_checkpoint, save_checkpoint


class Sharded(nn.Module):
    """A student with a head on top, in shards."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.student = ZenModel(ZenConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32))
        self.head = nn.Linear(32, 8)
        mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
        for layer in self.student.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(self, mesh=mesh)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.head(self.student(pixel_values=pixels).pooler_output).square().mean()


def new_trainer() -> Trainer:
    objective = Sharded()
    rank, processes = distributed.get_rank(), distributed.get_world_size()
    accelerator = SimpleNamespace(is_main_process=rank == 0, scaler=None, num_processes=processes, process_index=rank)
    optimizer = SimpleNamespace(optimizer=torch.optim.AdamW(objective.parameters(), lr=1e-2))
    return Trainer(*cast(Any, (accelerator, objective, optimizer)), None)


def train(trainer: Trainer, steps: range) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(10 * step + distributed.get_rank())
        trainer.objective(torch.rand(2, 3, 32, 32, generator=generator)).backward()
        trainer.optimizer.optimizer.step()
        trainer.optimizer.optimizer.zero_grad()


def whole(trainer: Trainer) -> dict[str, Tensor]:
    return {name: cast(Any, weight).full_tensor() for name, weight in trainer.objective.named_parameters()}


def main() -> None:
    folder = Path(sys.argv[1])
    first, second = new_trainer(), new_trainer()
    train(first, range(2))
    save_checkpoint(folder, 2, 0.5, first, 2)
    distributed.barrier()
    train(first, range(2, 4))
    assert restore_checkpoint(folder / "step-00000002", second) == (2, 0.5)
    train(second, range(2, 4))
    expected, found = whole(first), whole(second)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    save_checkpoint(folder, 4, 1.0, first, 2)
    distributed.barrier()
    student = ZenModel.from_pretrained(folder / "step-00000004" / "model")
    assert all(torch.equal(value, expected[f"student.{name}"]) for name, value in student.named_parameters())


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    main()
    distributed.destroy_process_group()

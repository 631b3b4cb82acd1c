"""Two processes on this machine (gloo) do what one process does with twice the batch."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from safetensors.torch import load_file

from training import pretrain

SAME = (
    "student.size=nano", "student.image_size=32", "distillation.head_width=16", "distillation.calibration_frames=32",
    "data.held_out_frames=4", "max_steps=6", "log.every=1", "log.eval_every=3", "log.save_every=2",
    "log.plan=false",
)  # fmt: skip

CONFIGS = Path(__file__).parents[2] / "training" / "accelerate"


def words(corpus: Path, teachers: dict[str, Path], out: Path, *more: str) -> list[str]:
    repos = [f"teachers.{name}.repo={folder}" for name, folder in teachers.items()]
    return [f"data.corpus={corpus}", f"output_dir={out}", *SAME, *repos, *more]


def launch_two(corpus: Path, teachers: dict[str, Path], out: Path, *more: str) -> subprocess.Popen[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = str(CONFIGS / "two_cpu.yaml")
    launcher = ["-m", "accelerate.commands.launch", "--config_file", config, "--main_process_port", str(port)]
    settings = words(corpus, teachers, out, "num_processes=2", "batch_size=2", *more)
    command = [sys.executable, *launcher, "-m", "training.pretrain", *settings]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output[-3000:]


def rows(out: Path, key: str) -> list[float]:
    return [row[key] for line in (out / "log.jsonl").read_text().splitlines() if key in (row := json.loads(line))]


def state(out: Path, step: int) -> dict[str, torch.Tensor]:
    path = out / "checkpoints" / f"step-{step:08d}" / "trainer_state.pt"
    return torch.load(path, weights_only=True)["objective"]


@pytest.fixture(scope="module")
def two(tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two") / "run"
    # With a plan, which the main process measures alone; the others, which have none, must end the same.
    finish(launch_two(tiny_corpus, tiny_teachers, out, "log.plan=true"))
    return out


def test_two_processes_equal_one_with_twice_the_batch(
    two: Path, tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["pretrain", *words(tiny_corpus, tiny_teachers, tmp_path / "one", "batch_size=4")])
    pretrain.main()
    for key in ("loss_total", "grad_norm", "explained_variance", "loss/vit/dense"):
        assert rows(two, key) == pytest.approx(rows(tmp_path / "one", key), rel=2e-3, abs=2e-4), key
    mine, other = state(two, 6), state(tmp_path / "one", 6)
    assert mine.keys() == other.keys()
    for name in mine:
        if "normalizer" in name:  # calibrated on the same frames, half of them each
            torch.testing.assert_close(mine[name], other[name], rtol=1e-9, atol=1e-9)
    assert int(mine["branches.vit.dense.normalizer.count"]) == 32 * 4  # every frame once, 2 x 2 tokens each


def test_a_stopped_run_of_two_goes_on_bit_equal(
    two: Path, tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = launch_two(tiny_corpus, tiny_teachers, out)
    while process.poll() is None and not (out / "checkpoints" / "step-00000002").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert not (out / "hub").exists()
    finish(launch_two(tiny_corpus, tiny_teachers, out))
    mine, other = (load_file(folder / "hub" / "model.safetensors") for folder in (out, two))
    assert all(torch.equal(value, other[name]) for name, value in mine.items())


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_launch_config_is_one_that_accelerate_reads(path: Path) -> None:
    config = load_config_from_file(str(path))
    assert config.num_processes >= config.num_machines >= 1
    command = "accelerate launch --config_file training/accelerate/" + path.name
    assert command in path.read_text()

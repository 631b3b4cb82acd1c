"""Every strategy through the entry, on a tiny corpus."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel

from training import pretrain
from training.config import load_config
from training.errors import UserError
from training.settings import PretrainConfig

STEPS = 6
TINY = {
    "mae": ("mae.decoder_depth=1",),
    "ijepa": ("ijepa.predictor_depth=1",),
    "moco": ("moco.head_width=16", "moco.key_width=8", "moco.queue_size=16"),
    "dino": ("dino.head_width=16", "dino.bottleneck_width=8", "dino.prototypes=16", "dino.local_crops=1",
             "dino.local_size=32"),
}  # fmt: skip


def words(corpus: Path, strategy: str, out: Path, *more: str) -> list[str]:
    return [
        f"data.corpus={corpus}",
        f"output_dir={out}",
        f"strategy={strategy}",
        "student.size=nano",
        "student.image_size=64",
        "student.drop_path_rate=0.1",
        "data.held_out_frames=4",
        "batch_size=2",
        f"optimizer.schedule_steps={STEPS}",
        f"max_steps={STEPS}",
        "log.every=2",
        "log.eval_every=3",
        "log.save_every=2",
        *TINY.get(strategy, ()),
        *more,
    ]


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pretrain", *arguments])
    pretrain.main()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "hub" / "model.safetensors")


def assert_same_end(first: Path, second: Path) -> None:
    """Weights, and whatever else the last checkpoints hold, bit for bit."""
    mine, other = (
        torch.load(folder / "checkpoints" / f"step-{STEPS:08d}" / "trainer_state.pt", weights_only=True)
        for folder in (first, second)
    )
    for a, b in zip(*map(torch.utils._pytree.tree_leaves, (mine, other)), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())


@pytest.mark.parametrize("strategy", sorted(TINY))
def test_a_shorter_run_of_one_schedule_continues_bit_equal(
    strategy: str, tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = ("stages=[{from_step: 2, sizes: [64, 96]}]", "accumulate=2")
    run(words(tiny_corpus, strategy, tmp_path / "whole", *mixed), monkeypatch)
    for stop in (3, STEPS):
        run(words(tiny_corpus, strategy, tmp_path / "parts", *mixed, f"max_steps={stop}"), monkeypatch)
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    assert type(AutoModel.from_pretrained(tmp_path / "whole" / "hub")).__name__ == "ZenModel"
    assert not (tmp_path / "whole" / "teachers.json").exists()


def test_dino_killed_in_the_middle_and_repeated_is_bit_equal(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(words(tiny_corpus, "dino", tmp_path / "whole"), monkeypatch)
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "training.pretrain", *words(tiny_corpus, "dino", out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not (out / "checkpoints" / "step-00000002").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "hub").exists()
    run(words(tiny_corpus, "dino", out), monkeypatch)
    assert_same_end(tmp_path / "whole", out)


def test_the_same_seed_gives_all_strategies_the_same_first_weights(
    tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = ("optimizer.lr=1e-12", "optimizer.weight_decay=0", "max_steps=1", "optimizer.schedule_steps=1")
    for strategy in ("mae", "moco"):
        run(words(tiny_corpus, strategy, tmp_path / strategy, *frozen), monkeypatch)
    for name, value in weights(tmp_path / "mae").items():
        torch.testing.assert_close(value, weights(tmp_path / "moco")[name], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("strategy=dion", r"unknown strategy 'dion'\. Did you mean 'dino'\? Known: dino, distillation, ijepa, "),
        ("teachers.a.repo=b", r"strategy=mae has no teachers, but a would teach: leave teachers out, or choose strat"),
        ("strategy=distillation", r"no teacher: name at least one"),
        ("mae.mask_ratio=1", r"mae\.mask_ratio must lie between 0 and 1, got 1"),
        ("mae.decoder_depth=0", r"mae\.decoder_depth must be at least 1, got 0"),
        ("ijepa.targets=0", r"ijepa\.targets must be at least 1, got 0"),
        ("ijepa.target_scale=[0.2,0.1]", r"ijepa\.target_scale must satisfy 0 < low <= high <= 1, got \[0\.2, 0\.1\]"),
        ("ijepa.target_ratio=[0.1,1]", r"ijepa\.target_ratio must satisfy 0\.5 <= low <= high <= 2, got \[0\.1, 1"),
        ("ijepa.momentum=2", r"ijepa\.momentum must lie in \[0, 1\], got 2"),
        ("moco.queue_size=0", r"moco\.queue_size must be at least 1, got 0"),
        ("moco.head_width=0", r"moco\.head_width must be positive, got 0"),
        ("moco.temperature=0", r"moco\.temperature must be positive, got 0"),
        ("moco.momentum=-1", r"moco\.momentum must lie in \[0, 1\], got -1"),
        ("dino.prototypes=0", r"dino\.prototypes must be at least 1, got 0"),
        ("dino.local_crops=-1", r"dino\.local_crops must not be negative, got -1"),
        ("dino.dino_weight=0", r"dino\.dino_weight must be positive: without it nothing trains the summary tokens"),
        ("dino.teacher_temperature=0", r"dino\.teacher_temperature must be positive, got 0"),
        ("dino.momentum=1.5", r"dino\.momentum must lie in \[0, 1\], got 1\.5"),
        ("dino.mask_ratio=[0,1]", r"dino\.mask_ratio must satisfy 0 < low <= high <= 1, got \[0\.0, 1\.0\]"),
        ("supervised.label_smoothing=1", r"supervised\.label_smoothing must lie in \[0, 1\), got 1"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(change: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_config(PretrainConfig, None, ["data.corpus=c", "output_dir=o", "strategy=mae", change])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ("supervised", r"strategy=supervised needs training clips of two procedures or more"),
        ("ijepa", r"ijepa: 4 targets of up to 1 patches can cover the context of 4"),
    ],
)
def test_what_corpus_and_student_do_not_fit_writes_nothing(
    strategy: str, message: str, tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=message):
        run(words(tiny_corpus, strategy, tmp_path / "run", "student.image_size=32"), monkeypatch)
    assert not (tmp_path / "run").exists()

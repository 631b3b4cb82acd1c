"""Kills a pretraining run at random moments and compares its weights with those of an undisturbed run.

    python -m benchmarks.kills [--kills 20] [--steps 60] [--workers 2] [--seed 0] [key=value ...]

The corpus is rendered, the teachers are tiny and random, the student is a ZEN-nano with drop path; further settings of
`training.pretrain` follow as key=value. A kill is SIGKILL of the process and its loader workers at a drawn moment:
while it starts, loads or calibrates, or a few steps after it goes on, while it trains, measures or writes.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from transformers import (
    BitImageProcessor,
    ConvNextConfig,
    ConvNextImageProcessor,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
)

from training.checkpointing import latest_checkpoint, step_of
from training.corpus.curation import curate
from training.corpus.filters import FilterSettings
from training.corpus.filters.blur import BlurSettings
from training.corpus.filters.out_of_body import OutOfBodySettings
from training.corpus.filters.screen import ScreenSettings
from training.corpus.settings import CurationSettings


def make_corpus(folder: Path) -> Path:
    """Six cases of sixteen smooth color fields."""
    generator = np.random.default_rng(0)
    for case in range(6):
        home = folder / "stills" / ("test" if case == 5 else "train")
        home.mkdir(parents=True, exist_ok=True)
        for frame in range(16):
            coarse = generator.integers(40, 220, (4, 5, 3), dtype=np.uint8)
            cv2.imwrite(str(home / f"case{case}_{frame}.jpg"), cv2.resize(coarse, (80, 64)))
    off = {"out_of_body": OutOfBodySettings(False), "screen": ScreenSettings(False), "blur": BlurSettings(False)}
    curate([folder / "stills"], folder / "corpus", CurationSettings(filters=FilterSettings(**off)))
    return folder / "corpus"


def make_teachers(folder: Path) -> dict[str, Path]:
    """A tiny random ViT and a tiny random CNN as model folders."""
    torch.manual_seed(0)
    vit = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, patch_size=8, image_size=32)
    cnn = ConvNextConfig(hidden_sizes=[8, 8, 16, 20], depths=[1, 1, 1, 1])
    size = {"shortest_edge": 32}
    made = {"vit": (Dinov2Model(vit), BitImageProcessor(size=size, crop_size={"height": 32, "width": 32}))}
    made |= {"cnn": (ConvNextModel(cnn), ConvNextImageProcessor(size=size))}
    for name, (model, processor) in made.items():
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return {name: folder / name for name in made}


def start(words: list[str]) -> subprocess.Popen[bytes]:
    """A run in a process group of its own, so that its workers die with it."""
    command = [sys.executable, "-m", "training.pretrain", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def wait(process: subprocess.Popen[bytes], out: Path, draw: random.Random, whole: float) -> None:
    """Until the moment of the kill: every third one while the run starts, the others up to six logged steps later."""
    if draw.random() < 1 / 3:
        time.sleep(draw.uniform(0.0, 0.6) * whole)
        return
    log = out / "log.jsonl"
    before = len(log.read_text(encoding="utf-8").splitlines()) if log.exists() else 0
    rows = before + draw.randint(1, 6)
    deadline = time.monotonic() + 3 * whole
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and len(log.read_text(encoding="utf-8").splitlines()) >= rows:
            break
        time.sleep(0.01)
    time.sleep(draw.uniform(0.0, 0.2))


def main() -> None:
    """Run undisturbed, run with kills, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("settings", nargs="*", metavar="key=value")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus, teachers = make_corpus(folder), make_teachers(folder)
        words = [f"data.corpus={corpus}", *(f"teachers.{key}.repo={path}" for key, path in teachers.items())]
        words += ["student.size=nano", "student.image_size=32", "student.drop_path_rate=0.1", "batch_size=4"]
        words += ["distillation.head_width=16", "distillation.calibration_frames=64", "data.held_out_frames=8"]
        words += [f"max_steps={arguments.steps}", f"data.workers={arguments.workers}", "log.save_every=3"]
        words += ["log.every=1", "log.eval_every=20", *arguments.settings]
        began = time.monotonic()
        if start([*words, f"output_dir={folder / 'whole'}"]).wait() != 0:
            sys.exit("the undisturbed run failed: try its settings with python -m training.pretrain")
        whole = time.monotonic() - began
        draw = random.Random(arguments.seed)
        out = folder / "killed"
        moments = []
        for _ in range(arguments.kills):
            process = start([*words, f"output_dir={out}"])
            wait(process, out, draw, whole)
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            last = latest_checkpoint(out / "checkpoints")
            moments.append(step_of(last) if last else 0)
        final = start([*words, f"output_dir={out}"])
        if final.wait() != 0:
            sys.exit("the run could not be finished after the kills")
        expected, found = (load_file(path / "hub" / "model.safetensors") for path in (folder / "whole", out))
        equal = expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in expected)
        print(f"undisturbed {whole:.0f} s; newest checkpoint after each kill: {', '.join(map(str, moments))}")
        print(f"{arguments.kills} kills, {arguments.steps} steps, {arguments.workers} workers: final weights ", end="")
        print("bit-identical" if equal else "DIFFERENT")
        sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()

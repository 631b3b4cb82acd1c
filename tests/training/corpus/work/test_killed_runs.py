"""Curation with two workers whose processes are killed, all at once or one by one: the corpus is the same."""

import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.corpus import Corpus
from training.corpus.manifest import read_drops
from training.errors import UserError

ROOT = Path(__file__).parents[4]
KILLS = 8


@pytest.fixture
def source(tmp_path, scene, write_still, write_video, moving) -> Path:
    """Seven units in two shards."""
    for video in range(5):
        for frame in range(3):
            write_still(tmp_path / "data" / f"s{video}_{frame:03d}.png", np.roll(scene(video), 7 * frame, axis=1))
    for seed in range(2):
        write_video(tmp_path / "data" / f"v{seed}.mp4", moving(3, seed=seed))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def known() -> dict[str, dict[str, str]]:
    """Room for what an undisturbed run gives: the same for every test."""
    return {}


@pytest.fixture
def expected(source, tmp_path, known) -> dict[str, str]:
    if not known:
        known["one"] = complete(source, tmp_path / "one", "workers=1")
        assert sum(name.startswith("shards/") for name in known["one"]) > 1
    return known["one"]


def start(source: Path, out: Path, *words: str, limit: int = 0) -> subprocess.Popen[str]:
    """`python -m training.curate` in a process group of its own, maybe with a largest file size in bytes."""
    settings = ["short_side=64", "shard_megabytes=0.03", "deidentify=false", "filters.duplicate.enabled=false"]

    def prepare() -> None:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-m", "training.curate", str(source), str(out), *settings, *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=prepare,
    )


def complete(source: Path, out: Path, *words: str) -> dict[str, str]:
    """Run to the end; what the corpus consists of."""
    run = start(source, out, *words)
    _, errors = run.communicate(timeout=250)
    assert run.returncode == 0, errors
    return published(out)


def published(out: Path) -> dict[str, str]:
    files = [path for path in out.rglob("*") if path.is_file() and "journal" not in path.parts]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def until(true: Callable[[], bool], run: subprocess.Popen[str]) -> bool:
    """Wait for something that a run does; `False` if the run ends before."""
    give_up = time.monotonic() + 200
    while not true():
        if run.poll() is not None:
            return False
        assert time.monotonic() < give_up
        time.sleep(0.002)
    return True


def children(pid: int) -> list[int]:
    """Worker processes of a run."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def finished_units(out: Path) -> int:
    work = out / "journal" / "work"
    return len([path for path in work.iterdir() if path.suffix != ".tmp"]) if work.exists() else 0


def check_what_a_reader_sees(out: Path) -> None:
    try:
        corpus = Corpus.open(out)
    except UserError:
        return
    for split in ("train", "held_out"):
        for clip in corpus.clips(split):
            corpus.read(clip, range(clip.num_frames))


def test_all_processes_killed_at_random_moments(source, expected, tmp_path):
    chance = random.Random(7)
    kills = outs = 0
    while kills < KILLS:
        out = tmp_path / f"out{outs}"
        outs += 1
        while not (out / "curation.json").exists():
            run = start(source, out, "workers=2")
            # The first sign of this run is a worker; what it does from then on is cut off somewhere.
            if kills < KILLS and until(lambda run=run: bool(children(run.pid)), run):
                began = time.monotonic()
                pause = chance.choice([0.0, 0.3, 1.0, 2.0, 4.0]) * chance.random()
                until(lambda end=began + pause: time.monotonic() >= end, run)
                kills += run.poll() is None
                os.killpg(run.pid, signal.SIGKILL)
                run.communicate()
                check_what_a_reader_sees(out)
            else:
                _, errors = run.communicate(timeout=250)
                assert run.returncode == 0, errors
        assert published(out) == expected
        assert list((out / "journal" / "work").iterdir()) == []


def test_a_killed_worker_is_replaced_and_the_corpus_the_same(source, expected, tmp_path):
    run = start(source, tmp_path / "two", "workers=2")
    assert until(lambda: finished_units(tmp_path / "two") >= 1, run)
    for worker in children(run.pid)[:2]:
        os.kill(worker, signal.SIGKILL)
    _, errors = run.communicate(timeout=250)
    assert run.returncode == 0, errors
    assert published(tmp_path / "two") == expected
    assert "worker_died" not in {drop.reason for drop in read_drops(tmp_path / "two" / "drops.parquet")}


@pytest.mark.parametrize(("sign", "code", "says"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "")])
def test_an_interrupted_run_leaves_finished_units_and_no_process(source, tmp_path, sign, code, says):
    out = tmp_path / "out"
    run = start(source, out, "workers=2", "shard_megabytes=10")  # all units wait for one shard
    assert until(lambda: finished_units(out) >= 1, run)
    workers = children(run.pid)
    (os.killpg if sign == signal.SIGINT else os.kill)(run.pid, sign)  # Ctrl-C reaches the group, a batch system one
    _, errors = run.communicate(timeout=60)
    assert run.returncode == code, errors
    assert errors.rstrip().endswith(says)
    assert "Traceback" not in errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert finished_units(out) >= 1
    assert not (out / "curation.json").exists()


@pytest.mark.parametrize("limit", [1500, 12_000])  # a unit's frames do not fit, or a shard does not
def test_a_full_disk_under_two_workers(source, expected, tmp_path, limit):
    """A largest file size stands in for a full disk: writes fail in the midst of a file, in whichever process."""
    out = tmp_path / "out"
    run = start(source, out, "workers=2", limit=limit)
    _, errors = run.communicate(timeout=250)
    assert run.returncode == 2, errors
    message = errors.rstrip().rpartition("\n")[2]
    assert message.startswith(f"error: no space left for the output folder {str(out)!r}: free some and run the same")
    assert "Traceback" not in errors
    assert not list((out / "shards").iterdir())
    with pytest.raises(UserError, match=r"has no curation.json"):
        Corpus.open(out)
    assert complete(source, out, "engine=inline") == expected

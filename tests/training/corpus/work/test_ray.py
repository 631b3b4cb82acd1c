"""Curation on Ray: the same corpus, nothing left behind, and what goes wrong in one sentence."""

import hashlib
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from training.corpus.curation import curate
from training.corpus.work import ray_cluster
from training.corpus.work.engines import open_engine
from training.corpus.work.ray_cluster import RayEngine
from training.errors import UserError


def published(out: Path) -> dict[str, str]:
    files = [path for path in out.rglob("*") if path.is_file() and "journal" not in path.parts]
    return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def running(word: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace") if folder.name.isdecimal() else ""
        except OSError:  # it has ended meanwhile
            continue
        if word in line:
            found.append(line.replace("\0", " "))
    return found


@pytest.mark.timeout(900)  # starting Ray takes 5 s on an idle machine and minutes on one that is busy with other tests
def test_two_workers_on_ray_give_the_corpus_of_one(tmp_path, settings, write_video, moving, write_still, scene):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'zen-surgical[cluster]'")
    for seed in range(2):
        write_video(tmp_path / "data" / f"v{seed}.mp4", moving(3, seed=seed))
        write_still(tmp_path / "data" / f"s_{seed:03d}.png", scene(seed))
    (tmp_path / "data" / "broken.mp4").write_text("no video")
    before = set(Path("/tmp").glob("zen-ray-*"))
    os.environ.pop("RAY_USAGE_STATS_ENABLED", None)
    on_ray = curate([tmp_path / "data"], tmp_path / "ray", settings(engine="ray", workers=2))
    left = set(Path("/tmp").glob("zen-ray-*")) - before
    assert not left
    assert not running("zen-ray-")
    assert "RAY_USAGE_STATS_ENABLED" not in os.environ
    inline = curate([tmp_path / "data"], tmp_path / "inline", settings())
    assert on_ray.counts == inline.counts
    assert on_ray.counts["frames_sampled"] == 8
    assert published(tmp_path / "ray") == published(tmp_path / "inline")
    assert curate([tmp_path / "data"], tmp_path / "ray", settings(workers=1)).nothing_new


def test_a_node_that_does_not_see_the_folders_is_named(tmp_path):
    inputs, mark = tmp_path / "data" / "v.mp4", tmp_path / "mark.tmp"
    task = SimpleNamespace(unit=SimpleNamespace(files=[SimpleNamespace(location=inputs)]))
    for made, missing in ((None, mark), (mark, inputs.parent)):
        if made is not None:
            made.touch()
        frames, error = ray_cluster._do(task, mark)  # type: ignore[arg-type]
        assert frames == 0
        assert isinstance(error, UserError)
        assert f"of the Ray cluster does not see '{missing}': put inputs and OUT on a file system" in str(error)
        assert str(error).endswith("(what is fetched goes beside OUT)")


class FakeRay:
    """What the engine uses of Ray, with tasks that end as they are told."""

    class exceptions:  # noqa: N801
        class WorkerCrashedError(Exception):
            pass

        class OutOfMemoryError(Exception):
            pass

        class NodeDiedError(Exception):
            pass

    def __init__(self, answers: list, broken: Exception | None = None) -> None:
        self.answers = answers
        self.broken = broken
        self.asked: dict = {}
        self.usage = ""

    def init(self, **asked) -> None:
        self.asked, self.usage = asked, os.environ["RAY_USAGE_STATS_ENABLED"]
        if self.broken:
            raise self.broken

    def shutdown(self) -> None: ...

    def cancel(self, *_args, **_more) -> None: ...

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 12.0}

    def remote(self, **asked):
        self.asked |= asked
        return lambda function: SimpleNamespace(remote=lambda *_: f"reference {len(self.answers)}")

    def wait(self, references, num_returns):
        return references[:num_returns], references[num_returns:]

    def get(self, _reference):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeTask:
    unit = SimpleNamespace(size=7)
    detail = ""

    def give_up(self, detail: str) -> None:
        self.detail = detail


def fake_engine(monkeypatch, tmp_path, fake: FakeRay, workers: int = 0, address: str = "auto") -> RayEngine:
    monkeypatch.setattr(ray_cluster, "_import_ray", lambda: fake)
    return RayEngine(workers, address, tmp_path)


def test_a_running_cluster_is_used_as_large_as_it_is_and_nobody_is_phoned(tmp_path, monkeypatch):
    fake = FakeRay([(3, None)])
    told = []
    with fake_engine(monkeypatch, tmp_path, fake) as engine:
        assert engine.workers == 12
        task = FakeTask()
        engine.submit(task)  # type: ignore[arg-type]
        assert engine.wait(lambda *done: told.append(done)) == [task]
    assert told == [(task, 3, 7)]
    assert fake.asked["address"] == "auto"
    assert "num_cpus" in fake.asked
    assert fake.asked["max_retries"] == 2
    assert fake.asked["scheduling_strategy"] == "SPREAD"
    assert fake.usage == "0"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["WorkerCrashedError", "OutOfMemoryError", "NodeDiedError"])
def test_a_unit_that_the_cluster_lost_again_and_again_is_given_up(tmp_path, monkeypatch, name):
    fake = FakeRay([getattr(FakeRay.exceptions, name)("gone")])
    with fake_engine(monkeypatch, tmp_path, fake) as engine:
        task = FakeTask()
        engine.submit(task)  # type: ignore[arg-type]
        assert engine.wait(lambda *_: None) == [task]
    assert task.detail == f"{name} on the cluster, 3 times"


def test_mistakes_and_full_disks_come_back_as_they_were(tmp_path, monkeypatch):
    fake = FakeRay([(0, UserError("this is wrong"))])
    with fake_engine(monkeypatch, tmp_path, fake) as engine:
        engine.submit(FakeTask())  # type: ignore[arg-type]
        with pytest.raises(UserError, match=r"^this is wrong$"):
            engine.wait(lambda *_: None)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("node7:6379", "cannot reach a Ray cluster at ray_address='node7:6379': nobody there"),
        ("", "cannot reach a Ray on this machine: nobody there"),
        ("node8:6379", "cannot reach a Ray cluster at ray_address='node8:6379': ConnectionError$"),
    ],
)
def test_no_cluster(tmp_path, monkeypatch, address, message):
    reason = "" if "node8" in address else "nobody there\nand a long explanation"
    fake = FakeRay([], ConnectionError(reason))
    with pytest.raises(UserError, match=message), fake_engine(monkeypatch, tmp_path, fake, 2, address):
        pass
    assert not list(tmp_path.iterdir())


def test_ray_is_not_installed(tmp_path, monkeypatch, settings):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"engine=ray needs Ray: pip install 'zen-surgical\[cluster\]'"):
        open_engine(settings(engine="ray"), tmp_path)


def test_an_unknown_engine_is_named(tmp_path, settings):
    with pytest.raises(UserError, match=r"unknown engine 'lokal'\. Did you mean 'local'\? Known: inline, local, ray"):
        open_engine(settings(engine="lokal"), tmp_path)

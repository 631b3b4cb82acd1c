"""The Ray engine: tasks on the nodes of a Ray cluster, or on a Ray that is started on this machine for the run.

Every node must see the inputs, the output folder, this checkout and its environment under the same paths, as on a file
system that all share; each task checks the first two. A node does a task in a watched process of its own, so that a
crash, a hang and a second attempt are the same as with local workers; Ray adds that a lost node's tasks go to another.
"""

import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from training.corpus.work.local import LocalEngine, default_workers
from training.corpus.work.task import ATTEMPTS, Progress, Task
from training.errors import UserError

CHECKOUT = Path(__file__).parents[3]
OBJECT_STORE_BYTES = 100 * 2**20  # of a Ray started here; tasks pass only names through it


class RayEngine:
    """Tasks on Ray, one CPU each, spread over the nodes.

    Args:
        workers: tasks at a time; 0: one per CPU of the cluster, also of nodes that join later.
        address: of a running cluster, or "" to start Ray here.
        work: folder of the outcomes.
    """

    def __init__(self, workers: int, address: str, work: Path) -> None:
        self._ray = _import_ray()
        self._workers = workers
        self._address = address
        self._mark = work / f"{secrets.token_hex(4)}.tmp"  # a node that sees this file sees the output folder
        self._own = ""  # folder of a Ray that was started here
        self._tasks: dict[Any, Task] = {}
        kinds = self._ray.exceptions
        self._losses = (kinds.WorkerCrashedError, kinds.OutOfMemoryError, kinds.NodeDiedError)

    @property
    def workers(self) -> int:
        """See `Engine`."""
        return self._workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def __enter__(self) -> "RayEngine":
        self._mark.touch()
        common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        # Ray's workers do not look where this process looks for modules.
        common["runtime_env"] = {"env_vars": {"PYTHONPATH": str(CHECKOUT)}}
        with _phoning_nobody():
            try:
                if self._address:
                    self._ray.init(address=self._address, **common)
                else:
                    self._own = tempfile.mkdtemp(prefix="zen-ray-", dir="/tmp")  # short: it holds sockets
                    self._ray.init(
                        address="local",
                        num_cpus=self._workers or default_workers(),
                        include_dashboard=False,
                        object_store_memory=OBJECT_STORE_BYTES,
                        _temp_dir=self._own,
                        **common,
                    )
            except (ConnectionError, ValueError, RuntimeError) as error:
                self.__exit__()
                where = f"a Ray cluster at ray_address={self._address!r}" if self._address else "a Ray on this machine"
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                raise UserError(f"cannot reach {where}: {reason}") from error
        self._remote = self._ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1, scheduling_strategy="SPREAD")(_do)
        return self

    def __exit__(self, *_: object) -> None:
        for reference in self._tasks:
            self._ray.cancel(reference, force=True)
        self._tasks = {}
        self._ray.shutdown()
        self._mark.unlink(missing_ok=True)
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)  # Ray's processes may still be writing their last log lines

    def submit(self, task: Task) -> None:
        """See `Engine`."""
        self._tasks[self._remote.remote(task, self._mark)] = task

    def wait(self, progress: Progress) -> list[Task]:
        """See `Engine`. Ray tells of whole tasks only."""
        done, _ = self._ray.wait(list(self._tasks), num_returns=1)
        finished = []
        for reference in done:
            task = self._tasks.pop(reference)
            try:
                frames, error = self._ray.get(reference)
            except self._losses as lost:
                task.give_up(f"{type(lost).__name__} on the cluster, {ATTEMPTS} times")
                frames, error = 0, None
            if error is not None:
                raise error
            progress(task, frames, task.unit.size)
            finished.append(task)
        return finished


def _do(task: Task, mark: Path) -> tuple[int, Exception | None]:
    """On a node: do one task. Returns the frames done, and a mistake of the user or a full disk if it met one."""
    for path in (mark, task.unit.files[0].location.parent):
        if not path.exists():
            node = socket.gethostname()
            return 0, UserError(
                f"node {node!r} of the Ray cluster does not see {str(path)!r}: put inputs and OUT on a file system "
                "that all nodes share (what is fetched goes beside OUT)"
            )
    frames = 0

    def count(_: Task, more: int, __: float) -> None:
        nonlocal frames
        frames += more

    try:
        with LocalEngine(1) as engine:
            engine.submit(task)
            while not engine.wait(count):
                pass
    except (UserError, OSError) as error:  # Ray would wrap these in types of its own, with a traceback as the text
        return frames, error
    return frames, None


def _import_ray() -> Any:
    try:
        with _phoning_nobody():
            import ray  # optional and large
            import ray.exceptions
    except ImportError as error:
        raise UserError("engine=ray needs Ray: pip install 'zen-surgical[cluster]'") from error
    return ray


@contextmanager
def _phoning_nobody() -> Iterator[None]:
    """Ray reports usage to its makers unless told otherwise; what runs in a hospital must not."""
    name = "RAY_USAGE_STATS_ENABLED"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before

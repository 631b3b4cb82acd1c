"""The engines by name: "local" worker processes, a "ray" cluster, or "inline" in this process."""

from collections.abc import Callable
from pathlib import Path

from training.corpus.settings import CurationSettings
from training.corpus.work.inline import InlineEngine
from training.corpus.work.local import LocalEngine, default_workers
from training.corpus.work.ray_cluster import RayEngine
from training.corpus.work.task import Engine
from training.registry import Registry

ENGINES: Registry[Callable[[CurationSettings, Path], Engine]] = Registry("engine")


def open_engine(settings: CurationSettings, work: Path) -> Engine:
    """The engine that a run asks for.

    Args:
        settings: `engine`, `workers` and `ray_address` say which.
        work: folder of the outcomes.

    Raises:
        UserError: an unknown engine, or Ray is asked for and missing or not reachable.
    """
    return ENGINES.get(settings.engine)(settings, work)


@ENGINES.register("inline")
def _inline(settings: CurationSettings, work: Path) -> Engine:
    return InlineEngine(settings.decoding)


@ENGINES.register("local")
def _local(settings: CurationSettings, work: Path) -> Engine:
    return LocalEngine(settings.workers or default_workers())


@ENGINES.register("ray")
def _ray(settings: CurationSettings, work: Path) -> Engine:
    return RayEngine(settings.workers, settings.ray_address, work)

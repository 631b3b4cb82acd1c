"""What a benchmark run would do, before it does it: frames, fits, and the time that the features will take."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from evaluation.feature_store.plan import measure_rate, plan_features
from evaluation.records import read_records
from evaluation.runner import (
    BenchmarkSettings,
    check_sources,
    choose_tasks,
    describe,
    features_folder,
    load_backbones,
    load_tasks,
    plan_groups,
    text_towers,
    wanted,
)
from training.distributed import start_processes
from training.errors import UserError


def plan_work(settings: BenchmarkSettings, say: Callable[[str], None]) -> str:
    """The plan as text; a few frames are decoded and passed through each backbone to time it, nothing is written.

    Raises:
        UserError: as `run_benchmark`.
    """
    device = start_processes().device
    sources = check_sources(settings)
    backbones = load_backbones(settings, device)
    chosen, skips = choose_tasks(settings, sources, say)
    loaded, unreadable = load_tasks(chosen, sources)
    skips += unreadable
    if not loaded:
        raise UserError("; ".join(skip.reason for skip in skips))
    readers, unread = text_towers(settings, backbones, device)
    groups, more = plan_groups(settings, loaded, backbones, readers, read_records(Path(settings.output)))
    needed, frames, dense, coarse = wanted(groups, backbones)
    plan = plan_features(
        needed, frames, dense, settings.image_size, folder=features_folder(settings), coarse_frames=coarse
    )
    lines = [describe(skip) for skip in [*skips, *unread, *more]]
    lines.append(f"frames: {plan.frames} asked for, {plan.decoded} to decode, each once")
    if plan.decoded:
        rate = measure_rate(needed, plan.sample, settings.image_size)
        lines.append(f"decoding: {1 / rate.decode:.0f} frames/s")
        for backbone in needed:
            count, speed = plan.missing[backbone.name], 1 / rate.backbones[backbone.name]
            lines.append(f"{backbone.name}: {count} frames through the network, {speed:.1f} frames/s")
        seconds = plan.seconds(rate)
        lines.append(f"features: about {_time(seconds)} in one process, measured on {len(plan.sample)} frames")
    open_groups = [group for group in groups if group.missing]
    fits = Counter((group.arm.protocol, group.arm.probe) for group in open_groups for _ in group.missing)
    for (protocol, probe), count in fits.items():
        lines.append(f"{protocol}, {probe}: {count} fits")
    done = sum(len(group.existing) for group in groups)
    lines.append(
        f"in all {sum(fits.values())} fits for {len(open_groups)} tables; {done} are in the results file already"
    )
    return "\n".join(lines)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

"""The cache of a run: its key from the run's settings, opened for reading or begun for writing."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from training.corpus import Corpus
from training.errors import UserError
from training.loader import TrainingViews
from training.objectives.distillation import DistillationObjective
from training.run_folder import write_json
from training.sampling import Groups
from training.settings import PretrainConfig
from training.teachers.cache.codec_file import make_codecs
from training.teachers.cache.estimate import OVERHEAD_BYTES, check_space, show_bytes
from training.teachers.cache.reader import FeatureCache
from training.teachers.cache.record import RECORD_FILE, SCHEMA_VERSION, cache_key, read_record, refuse_differences


def open_cache(
    config: PretrainConfig, objective: DistillationObjective, corpus: Corpus, device: torch.device
) -> FeatureCache:
    """The complete cache in `cache.folder`, checked against the run; see `FeatureCache.open`."""
    groups = Groups(corpus.segments("train"), config.data.frames_per_clip, config.data.clip_stride)
    return FeatureCache.open(Path(str(config.cache.folder)), run_key(config, objective, corpus), groups, device)


def run_key(config: PretrainConfig, objective: DistillationObjective, corpus: Corpus) -> dict[str, Any]:
    """`cache_key` of a run."""
    sizes = config.resolutions.sizes
    teachers = {}
    for name, teacher in objective.teachers.items():
        identity = teacher.identity()
        teachers[name] = {
            "weights_sha256": identity["weights_sha256"],
            "preprocessing_sha256": identity["preprocessing_sha256"],
            "dense_layer": teacher.spec.dense_layer,
            "tokens": dict.fromkeys(objective.plans[name].weights, True),
            "inputs": {str(size): list(objective.plans_at(size)[name].input_size) for size in sizes},
        }
    pixels = {size: objective.view_size(size) for size in sizes}
    return cache_key(corpus, config.data, config.seed, pixels, teachers)


def feature_shapes(objective: DistillationObjective, sizes: Iterable[int]) -> dict[str, dict[str, list[int]]]:
    """Shapes of one view's features, `[D]` or `[D, h, w]`, by side of the student's input and "teacher/tokens"."""
    shapes: dict[str, dict[str, list[int]]] = {}
    for size in sizes:
        own = shapes[str(size)] = {}
        for name, plan in objective.plans_at(size).items():
            teacher = objective.teachers[name]
            if "summary" in plan.weights:
                own[f"{name}/summary"] = [int(teacher.summary_width or 0)]
            if "dense" in plan.weights:
                own[f"{name}/dense"] = [int(teacher.dense_width or 0), *plan.grid]
    return shapes


def begin_cache(
    config: PretrainConfig, objective: DistillationObjective, views: TrainingViews, accelerator: Accelerator
) -> dict[str, Any]:
    """Begin the cache in `cache.folder`, or find the one that was begun there; its record. All processes call it.

    Raises:
        UserError: the folder holds something else, or a cache of other settings, or a new one does not fit on the disk.
    """
    folder, settings = Path(str(config.cache.folder)), config.cache
    draft: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "complete": False,
        "form": settings.form,
        "components": settings.components,
        "calibration_frames": settings.calibration_frames,
        "key": run_key(config, objective, views.corpus),
        "shapes": feature_shapes(objective, config.resolutions.sizes),
    }
    draft["bytes_per_view"] = {
        str(size): {name: codec.num_bytes(draft["shapes"][str(size)][name]) for name, codec in own.items()}
        for size, own in make_codecs(draft).items()
    }
    row_bytes = {size: sum(own.values()) + OVERHEAD_BYTES for size, own in draft["bytes_per_view"].items()}
    draft["rows_per_shard"] = {
        size: max(int(settings.shard_mb * 1e6) // count, views.groups.size) for size, count in row_bytes.items()
    }
    if (folder / RECORD_FILE).is_file():
        record = read_record(folder)
        compared = ("form", "key", *(("components",) if settings.form == "phi_s" else ()))
        refuse_differences(
            folder, "in this command", *({key: each[key] for key in compared} for each in (record, draft))
        )
    else:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                f"cache.folder {str(folder)!r} is not empty and holds no cache (no {RECORD_FILE}); choose another"
            )
        rows, turns = views.groups.num_rows, config.data.views_per_frame
        reason = f"{rows} frames x {turns} views x {show_bytes(sum(row_bytes.values()))}"
        check_space(folder, rows * turns * sum(row_bytes.values()), reason)
        accelerator.wait_for_everyone()  # all have looked before the first file is written
        if accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / RECORD_FILE, draft)
        record = draft
    accelerator.wait_for_everyone()
    return record

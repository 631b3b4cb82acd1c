"""Write the teachers' features of fixed views to disk, for runs that read them instead of asking the teachers.

`accelerate launch -m training.cache_teachers --config FILE [key=value ...]` takes the settings of training.pretrain;
`cache.folder` says where to. Run again, it writes what is missing.
"""

import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from transformers.utils import logging

from training.config import load_config, settings_parser
from training.corpus import Corpus
from training.errors import UserError, run_entry, stop_on_sigterm
from training.loader import TrainingViews
from training.objectives.distillation import DistillationObjective
from training.pretrain import build, start
from training.settings import PretrainConfig
from training.teachers.cache.estimate import show_bytes
from training.teachers.cache.live import LiveFeatures
from training.teachers.cache.opening import begin_cache
from training.teachers.cache.reader import format_fidelity
from training.teachers.cache.settings import CacheConfig
from training.teachers.cache.writer import CacheWriter
from training.teachers.precision import compute_dtype

_PACKAGES = ("torch", "torchvision", "transformers", "timm")


def main() -> None:
    """Begin a cache or go on with one, and print what it holds and how true it is."""
    config = parse_config()
    logging.disable_progress_bar()
    accelerator = start(config)
    corpus = Corpus.open(config.data.corpus)
    objective, _ = build(replace(config, cache=CacheConfig()), accelerator, corpus)
    if not isinstance(objective, DistillationObjective):
        raise UserError("a feature cache is for objectives that have teachers")
    views = TrainingViews(corpus, config.data, objective.view_size(config.student.image_size), config.seed)
    record = begin_cache(config, objective, views, accelerator)
    folder = Path(str(config.cache.folder))
    names = {int(size): list(shapes) for size, shapes in record["shapes"].items()}
    live = LiveFeatures(views, objective, names, accelerator.device)
    writer = CacheWriter(folder, record, live, accelerator, config.batch_size * config.data.frames_per_clip)
    accelerator.print(
        f"cache     {folder}: {config.data.views_per_frame} views of {views.groups.num_rows} frames, "
        f"{show_bytes(writer.num_bytes(writer.shards))} in {len(writer.shards)} shards"
    )
    started = time.perf_counter()
    written = writer.write()
    seconds = time.perf_counter() - started
    if accelerator.is_main_process and (written or not record["complete"]):
        device = accelerator.device
        record = writer.finish(
            {
                "teachers": {name: teacher.identity() for name, teacher in objective.teachers.items()},
                "computed_in": {
                    name: str(compute_dtype(teacher.dtype, device)).removeprefix("torch.")
                    for name, teacher in objective.teachers.items()
                },
                "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
                "packages": {name: version(name) for name in _PACKAGES},
            }
        )
    if accelerator.is_main_process:
        print(
            f"wrote     {written} views in {seconds:.1f} s ({written / seconds:.1f} views/s)" if written else "complete"
        )
        print("\n".join(format_fidelity(record)))
        print(f"train     the same command with training.pretrain and cache.folder={folder}")
    accelerator.end_training()


def parse_config() -> PretrainConfig:
    """Settings from the command line; `output_dir`, which nothing is written to, may be left out."""
    parser = settings_parser(
        "training.cache_teachers", PretrainConfig, description="Write the features of all teachers for fixed views."
    )
    parser.add_argument("--config", metavar="FILE", help="YAML recipe, see training/recipes")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted settings that win over the recipe")
    arguments = parser.parse_args()
    config = load_config(PretrainConfig, arguments.config, ["output_dir=.", *arguments.overrides])
    if not config.cache.folder:
        raise UserError("cache.folder is not set: name the folder that the cache is to be written to")
    return config


if __name__ == "__main__":
    stop_on_sigterm()
    run_entry(main)

"""A short run on rendered clips with two tiny random teachers learns what holds on cases it has not seen."""

import json
import sys
from pathlib import Path

import pytest

from training import pretrain
from training.corpus.curation import curate
from training.corpus.filters import FilterSettings
from training.corpus.filters.duplicate import DuplicateSettings
from training.corpus.filters.trim import TrimSettings
from training.corpus.settings import CurationSettings
from training.corpus.synthetic.settings import SyntheticSettings
from training.corpus.synthetic.writer import write_dataset

STEPS = 60


def test_two_teachers_are_learned_on_unseen_cases(
    tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(tmp_path / "clips", SyntheticSettings(cases_train=6, cases_test=2, seconds=2))
    kept = FilterSettings(duplicate=DuplicateSettings(enabled=False), trim=TrimSettings(enabled=False))
    curate([tmp_path / "clips"], tmp_path / "corpus", CurationSettings(fps=4, filters=kept, deidentify=False))
    words = [
        f"data.corpus={tmp_path / 'corpus'}",
        f"output_dir={tmp_path / 'run'}",
        *(f"teachers.{name}.repo={folder}" for name, folder in tiny_teachers.items()),
        "student.size=nano",
        "student.image_size=32",
        "student.layerscale_value=1.0",
        "student.initializer_range=0.05",
        "distillation.head_width=64",
        "distillation.calibration_frames=64",
        "data.frames_per_clip=1",
        "data.held_out_frames=16",
        "batch_size=8",
        f"max_steps={STEPS}",
        "optimizer.lr=1e-3",
        "optimizer.scale_lr=false",
        f"log.eval_every={STEPS}",
        f"log.save_every={STEPS}",
        "log.plan=false",
        f"log.diagnose_every={STEPS}",
    ]
    monkeypatch.setattr(sys, "argv", ["pretrain", *words])
    pretrain.main()
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    last = {
        (row["teacher"], row["tokens"]): row["explained_variance"]
        for row in rows
        if row["split"] == "held_out" and row["step"] == STEPS and "teacher" in row
    }
    [measures] = [row for row in rows if "diagnostics/rank_me" in row]
    assert measures["step"] == STEPS
    assert measures["diagnostics/rank_me"] > 2
    assert len(last) == 4
    assert min(last.values()) > 0.3, last

"""The command from recipes to table and plot, on a tiny corpus, its processes run inside this one."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from evaluation import benchmark
from training import compare, pretrain
from training.comparison import runs
from training.errors import UserError

SHARED = """
max_steps: 2
batch_size: 4
student: {size: nano, image_size: 64}
data: {frames_per_clip: 1, held_out_frames: 4}
log: {every: 1, eval_every: 2, save_every: 2}
"""

# Multiplications of the ViT teacher on a view of 32 px: 16 patches of 8 x 8 x 3 to 16 channels; then one block on 17
# tokens: queries, keys, values; two heads' scores and sums of 8 channels; the projection; an MLP of twice the width.
VIT_PATCHES = 16 * (8 * 8 * 3) * 16
VIT_BLOCK = 17 * 16 * (3 * 16) + 2 * 2 * 17 * 17 * 8 + 17 * 16 * 16 + 2 * 17 * 16 * 32


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Modules that were run, in place of processes."""
    called: list[str] = []

    def run(module: str, words: Sequence[str]) -> None:
        called.append(module)
        if module == "training.pretrain":
            monkeypatch.setattr(sys, "argv", ["pretrain", *words])
            pretrain.main()
        else:
            benchmark.main(list(words))

    monkeypatch.setattr(runs, "run_module", run)
    return called


def test_recipes_become_table_and_plot_and_are_not_run_again(
    calls: list[str],
    tiny_corpus: Path,
    tiny_teachers: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    taught = "teachers: {vit: {}}\ndistillation: {head_width: 16, calibration_frames: 32}"
    for name, more in (("mae", "mae: {decoder_depth: 1}"), ("distillation", taught)):
        (tmp_path / f"{name}.yaml").write_text(f"strategy: {name}\n{more}{SHARED}")
    out = tmp_path / "out"
    words = ["--recipes", str(tmp_path / "distillation.yaml"), str(tmp_path / "mae.yaml")]
    words += ["--corpus", str(tiny_corpus), "--output", str(out), "--tasks", "teacher_agreement"]
    words += [f"teachers.vit.repo={tiny_teachers['vit']}"]
    compare.main(words)
    assert calls == ["training.pretrain", "evaluation.benchmark"] * 2
    assert "run 2 of 2: mae-seed0, strategy mae" in capsys.readouterr().out
    table = (out / "comparison.md").read_text(encoding="utf-8")
    assert table.splitlines()[0].startswith("|  | distillation | mae | random init | color histogram |")
    assert "| frames seen | 8 | 8 |" in table
    content = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    flop = {run["strategy"]: run["flop"] for run in content["runs"]}
    assert flop["mae"]["teachers_per_view"] == 0
    assert flop["distillation"]["teachers_per_view"] == 2 * (VIT_PATCHES + VIT_BLOCK)
    assert flop["distillation"]["views_taught"] == 8 + 32
    assert {score["model"] for score in content["scores"]} >= {"distillation", "mae", "random init", "color histogram"}
    assert (out / "comparison.svg").is_file()
    assert (out / "comparison.png").is_file()

    compare.main(words)
    assert len(calls) == 4
    assert (out / "comparison.md").read_text(encoding="utf-8") == table
    compare.main([*words[:3], *words[3:], "--seeds", "0", "1"])
    assert calls[4:] == ["training.pretrain", "evaluation.benchmark"] * 2
    assert "±" in (out / "comparison.md").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"holds a run with other settings: mae\.mask_ratio: 0\.75 -> 0\.5"):
        compare.main([*words, "mae.mask_ratio=0.5"])


def test_settings_after_an_option_of_several_values_are_settings() -> None:
    options = compare.parse(["--corpus", "c", "--output", "o", "--recipes", "a.yaml", "b.yaml", "max_steps=3", "x=1"])
    assert options.recipes == ["a.yaml", "b.yaml"]
    assert options.overrides == ["max_steps=3", "x=1"]

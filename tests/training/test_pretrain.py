import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel

from modeling_zen.teacher_adaptor import TeacherAdaptor
from training import pretrain
from training.loader import ViewBatch
from training.objectives.distillation import DistillationObjective
from training.objectives.heads import ProjectorHead
from training.objectives.objective import Objective

# Epochs of 5 x 8 train frames - the held-out ones - are 16 groups of two: 12 steps come back to remembered views.
STEPS = 12


def words(corpus: Path, teachers: dict[str, Path], out: Path, *more: str) -> list[str]:
    return [
        f"data.corpus={corpus}",
        f"output_dir={out}",
        *(f"teachers.{name}.repo={folder}" for name, folder in teachers.items()),
        "student.size=nano",
        "student.image_size=32",
        "student.drop_path_rate=0.1",
        "distillation.head_width=16",
        "distillation.calibration_frames=32",
        "data.held_out_frames=4",
        "batch_size=2",
        "data.views_per_frame=1",
        f"max_steps={STEPS}",
        "log.every=2",
        "log.eval_every=3",
        "log.save_every=2",
        "log.plan=false",
        *more,
    ]


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pretrain", *arguments])
    pretrain.main()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "hub" / "model.safetensors")


@pytest.fixture(scope="module")
def finished(tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        run(words(tiny_corpus, tiny_teachers, out), patch)
    return out


def test_leaves_exactly_the_promised_files(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == {
        "config.yaml", "teachers.json", "corpus.json", "log.jsonl", "run.json", "tensorboard", "checkpoints", "hub"
    }  # fmt: skip
    assert sorted(path.name for path in (finished / "checkpoints").iterdir()) == ["step-00000010", "step-00000012"]
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "teachers.json", "training.json"} < {
        path.name for path in (finished / "hub").iterdir()
    }


def test_hub_folder_loads_with_auto_classes(finished: Path) -> None:
    model = AutoModel.from_pretrained(finished / "hub")
    processor = AutoImageProcessor.from_pretrained(finished / "hub")
    assert type(model).__name__ == "ZenModel"
    assert processor.size == {"height": 32, "width": 32}
    stored = weights(finished)
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())


def test_adaptors_speak_the_teachers_own_space(finished: Path, tiny_teachers: dict[str, Path]) -> None:
    """The folded head equals the head followed by the inverse normaliser."""
    model = AutoModel.from_pretrained(finished / "hub")
    files = sorted(path.name for path in (finished / "hub" / "adaptors").iterdir())
    assert files == [f"{teacher}_{tokens}.safetensors" for teacher in ("cnn", "vit") for tokens in ("dense", "summary")]
    state = torch.load(finished / "checkpoints" / "step-00000012" / "trainer_state.pt", weights_only=True)["objective"]
    summary = model(pixel_values=torch.rand(2, 3, 32, 32)).pooler_output
    for name, width in (("vit", 16), ("cnn", 20)):
        adaptor = TeacherAdaptor.from_pretrained(finished / "hub", name, "summary")
        assert adaptor.facts["licence"] == "not stated: see its model card"
        assert str(tiny_teachers[name].parent) not in json.dumps(adaptor.facts)
        prefix = f"branches.{name}.summary."
        head = ProjectorHead(192, width, 16)
        head.load_state_dict({k.removeprefix(prefix + "head."): v for k, v in state.items() if prefix + "head." in k})
        along, own = state[prefix + "length"]  # of the angle, which leaves the length of a prediction open
        expected = max(along / own, 0) * head(summary) + state[prefix + "normalizer.mean"].float()  # "center"
        torch.testing.assert_close(adaptor(summary), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(OSError, match=r"resnet_summary\.safetensors"):
        TeacherAdaptor.from_pretrained(finished / "hub", "resnet")
    save_file({"adaptor.fc1.weight": torch.ones(2, 2)}, finished / "hub" / "adaptors" / "broken_dense.safetensors")
    with pytest.raises(ValueError, match=r"broken_dense\.safetensors of .* is not an adaptor"):
        TeacherAdaptor.from_pretrained(finished / "hub", "broken", "dense")
    (finished / "hub" / "adaptors" / "broken_dense.safetensors").unlink()


def test_an_adaptor_has_the_block_of_its_head(
    tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers = {"vit": tiny_teachers["vit"]}
    run(words(tiny_corpus, teachers, tmp_path / "run", "teachers.vit.head_block=true", "max_steps=1"), monkeypatch)
    state = torch.load(tmp_path / "run" / "checkpoints" / "step-00000001" / "trainer_state.pt", weights_only=True)
    prefix = "branches.vit.dense.head."
    head = ProjectorHead(192, 16, 16, block_heads=3)
    head.load_state_dict({k.removeprefix(prefix): v for k, v in state["objective"].items() if k.startswith(prefix)})
    adaptor = TeacherAdaptor.from_pretrained(tmp_path / "run" / "hub", "vit", "dense")
    tokens = torch.rand(2, 4, 192)
    assert adaptor.facts["block_heads"] == 3
    torch.testing.assert_close(adaptor.fc1(adaptor.block(tokens)), head.fc1(head.block.eval()(tokens)))


def test_log_holds_every_teacher_on_both_splits(finished: Path) -> None:
    rows = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    held_out = [row for row in rows if row["split"] == "held_out"]
    assert sorted({row["step"] for row in held_out}) == [0, 3, 6, 9, 12]
    for step in (0, 3, 6, 9, 12):
        pairs = {(row["teacher"], row["tokens"]) for row in held_out if row["step"] == step}
        assert pairs == {("vit", "summary"), ("vit", "dense"), ("cnn", "summary"), ("cnn", "dense")}
    assert all({"loss", "constant_loss", "cosine", "explained_variance"} <= row.keys() for row in held_out)
    totals = [row for row in rows if "loss_total" in row]
    assert [row["step"] for row in totals] == [2, 4, 6, 8, 10, 12]
    run_facts = json.loads((finished / "run.json").read_text())
    assert run_facts["frames_seen"] == STEPS * 4
    assert run_facts["held_out"] == [row for row in held_out if row["step"] == STEPS]


def test_published_files_name_no_folder_of_this_machine(finished: Path, tiny_corpus: Path) -> None:
    for file in (finished / "hub").glob("*.json"):
        text = file.read_text()
        assert str(tiny_corpus.parent) not in text
        assert str(finished.parent) not in text


def test_same_command_after_the_end_changes_no_weight(
    finished: Path, tiny_corpus: Path, tiny_teachers: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, log = weights(finished), (finished / "log.jsonl").read_text()
    run(words(tiny_corpus, tiny_teachers, finished), monkeypatch)
    assert all(torch.equal(before[name], value) for name, value in weights(finished).items())
    assert (finished / "log.jsonl").read_text() == log


def test_killed_in_the_middle_and_repeated_is_bit_equal(
    finished: Path, tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "training.pretrain", *words(tiny_corpus, tiny_teachers, out)]
    process = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and not (out / "checkpoints" / "step-00000002").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "hub").exists()
    run(words(tiny_corpus, tiny_teachers, out), monkeypatch)
    assert weights(out).keys() == weights(finished).keys()
    assert all(torch.equal(value, weights(finished)[name]) for name, value in weights(out).items())
    mine, other = (
        torch.load(folder / "checkpoints" / "step-00000012" / "trainer_state.pt", weights_only=True)
        for folder in (out, finished)
    )
    flat_mine, flat_other = (torch.utils._pytree.tree_leaves(state) for state in (mine, other))
    for a, b in zip(flat_mine, flat_other, strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    assert held_out_rows(out) == held_out_rows(finished)


def held_out_rows(folder: Path) -> list[str]:
    return [line for line in (folder / "log.jsonl").read_text().splitlines() if '"held_out"' in line]


def test_shorter_run_of_one_schedule_continues_bit_equal(
    tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers = {"vit": tiny_teachers["vit"]}
    schedule = "optimizer.schedule_steps=5"
    run(words(tiny_corpus, teachers, tmp_path / "a", schedule, "max_steps=5"), monkeypatch)
    run(words(tiny_corpus, teachers, tmp_path / "b", schedule, "max_steps=3"), monkeypatch)
    run(words(tiny_corpus, teachers, tmp_path / "b", schedule, "max_steps=5"), monkeypatch)
    assert all(torch.equal(value, weights(tmp_path / "b")[name]) for name, value in weights(tmp_path / "a").items())


def test_the_plan_is_printed_before_step_0_and_changes_no_bit(
    tiny_corpus: Path,
    tiny_teachers: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = ("optimizer.schedule_steps=4", "distillation.drop_teacher=0.5", "ema_decay=0.9")
    run(words(tiny_corpus, tiny_teachers, tmp_path / "without", *settings, "max_steps=4"), monkeypatch)
    assert "expected  " not in capsys.readouterr().out
    for stop in (2, 4):  # of a new run, and of a resumed one
        planned = (*settings, f"max_steps={stop}", "log.plan=true")
        run(words(tiny_corpus, tiny_teachers, tmp_path / "with", *planned), monkeypatch)
        printed = capsys.readouterr().out
        plan, rest = printed.split("look at   ")[1], printed.index("finished")
        assert [line.split()[0] for line in plan.splitlines()[1:7]] == [
            "compute", "vit", "cnn", "student,", "expected", "memory",
        ]  # fmt: skip
        assert printed.index("memory    ") < rest
    without, planned_state = (
        torch.load(tmp_path / name / "checkpoints" / "step-00000004" / "trainer_state.pt", weights_only=True)
        for name in ("without", "with")
    )
    for a, b in zip(*map(torch.utils._pytree.tree_leaves, (without, planned_state)), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    mine, other = weights(tmp_path / "without"), weights(tmp_path / "with")
    assert all(torch.equal(value, other[name]) for name, value in mine.items())


def test_nan_stops_the_run_and_keeps_the_batch(
    tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers = {"vit": tiny_teachers["vit"]}
    with pytest.raises(pretrain.UserError, match=r"is not finite at step \d; batch, losses and weights are kept in "):
        run(
            words(tiny_corpus, teachers, tmp_path / "run", "optimizer.lr=1e30", "optimizer.scale_lr=false"), monkeypatch
        )
    (kept,) = (tmp_path / "run").glob("nonfinite_step*_rank0")
    assert load_file(kept / "batch.safetensors")["images"].shape[0] == 4
    assert {"vit/summary", "vit/dense", "gradient_norm"} == json.loads((kept / "losses.json").read_text()).keys()
    assert "student.norm.weight" in load_file(kept / "state.safetensors")


def test_injected_nan_names_the_loss_that_has_it(
    tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poison(self: Objective, batch: ViewBatch, *arguments: object) -> dict[str, torch.Tensor]:
        losses = honest(self, batch, *arguments)
        calls.append(self.training and self.student.training)
        return losses | {"cnn/dense": losses["cnn/dense"] * float("nan")} if sum(calls) == 4 else losses

    calls: list[bool] = []
    honest = DistillationObjective.forward
    monkeypatch.setattr(DistillationObjective, "forward", poison)
    with pytest.raises(pretrain.UserError, match=r"the loss of cnn/dense is not finite at step 3"):
        run(words(tiny_corpus, tiny_teachers, tmp_path / "run"), monkeypatch)
    assert json.loads((tmp_path / "run" / "nonfinite_step3_rank0" / "losses.json").read_text())["cnn/dense"] == "nan"
    saved = load_file(tmp_path / "run" / "checkpoints" / "step-00000002" / "model" / "model.safetensors")
    assert all(bool(value.isfinite().all()) for value in saved.values())


def test_a_full_disk_is_one_sentence_and_leaves_the_last_checkpoint(
    tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(state: dict[str, object], path: Path) -> None:
        if state["step"] == 4:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        honest(state, path)

    honest = torch.save
    monkeypatch.setattr(torch, "save", save)
    teachers = {"vit": tiny_teachers["vit"]}
    with pytest.raises(pretrain.UserError, match=r"no space left for the checkpoint of step 4 in .*free some and run"):
        run(words(tiny_corpus, teachers, tmp_path / "run"), monkeypatch)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000002"]
    monkeypatch.setattr(torch, "save", honest)
    run(words(tiny_corpus, teachers, tmp_path / "run"), monkeypatch)
    assert (tmp_path / "run" / "hub" / "model.safetensors").is_file()


ALL_AT_ONCE = ("ema_decay=0.9", "accumulate=2", "optimizer.layer_decay=0.8", "data.workers=1")
STAGED = ("stages=[{from_step: 2, sizes: [32, 64]}]",)


def test_average_parts_stages_and_workers_resume_bit_equal(
    tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (*ALL_AT_ONCE, *STAGED, "optimizer.schedule_steps=6")
    for name, stops in (("whole", (6,)), ("parts", (3, 4, 6))):
        for stop in stops:
            run(words(tiny_corpus, tiny_teachers, tmp_path / name, *settings, f"max_steps={stop}"), monkeypatch)
    whole, parts = (weights(tmp_path / name) for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    last = load_file(tmp_path / "whole" / "checkpoints" / "step-00000006" / "model" / "model.safetensors")
    assert not torch.equal(last["norm.weight"], whole["norm.weight"])  # what is exported is the average


def test_every_option_of_the_losses_resumes_bit_equal(
    tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (
        "data.views_per_frame=0",
        "student.num_summary_tokens=2",
        "distillation.drop_teacher=0.5",
        "distillation.shift=0.7",
        "student.image_size=64",
        "teachers.vit.head_block=true",
        "teachers.vit.summary_loss=cosine_smooth_l1",
        "teachers.vit.dense_loss=token_similarity_kl",
        "teachers.vit.relational_weight=1",
        "teachers.cnn.gram_weight=1",
        "teachers.cnn.temporal_gram_weight=1",
        "optimizer.schedule_steps=4",
    )
    for name, stops in (("whole", (4,)), ("parts", (1, 4))):
        for stop in stops:
            run(words(tiny_corpus, tiny_teachers, tmp_path / name, *settings, f"max_steps={stop}"), monkeypatch)
    whole, parts = (weights(tmp_path / name) for name in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    rows = [json.loads(line) for line in held_out_rows(tmp_path / "whole")]
    last = {(row["teacher"], row["tokens"]): row for row in rows if row["step"] == 4}
    terms = {"vit": ("summary", "dense", "relational"), "cnn": ("summary", "dense", "gram", "temporal_gram")}
    # held-out frames are single ones: nothing over time is measured on them
    assert set(last) == {(name, term) for name, own in terms.items() for term in own} - {("cnn", "temporal_gram")}
    for row in last.values():
        assert row["explained_variance"] == pytest.approx(1 - row["loss"] / row["constant_loss"])
    adaptors = sorted(path.name for path in (tmp_path / "whole" / "hub" / "adaptors").iterdir())
    assert adaptors == ["cnn_dense.safetensors", "cnn_summary.safetensors", "vit_summary.safetensors"]
    hub = tmp_path / "whole" / "hub"
    tokens = {name: TeacherAdaptor.from_pretrained(hub, name).facts["summary_token"] for name in ("vit", "cnn")}
    assert tokens == {"vit": 0, "cnn": 1}
    logged = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert {"loss/vit/relational", "loss/cnn/gram", "loss/cnn/temporal_gram"} <= set().union(*logged)


def test_frames_drawn_alone_have_no_term_over_time(
    tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = ("data.frames_per_clip=1", "teachers.cnn.temporal_gram_weight=0.5")
    with pytest.raises(
        pretrain.UserError, match=r"teachers\.cnn\.temporal_gram_weight compares frames of a clip: set d"
    ):
        run(words(tiny_corpus, tiny_teachers, tmp_path / "run", *alone), monkeypatch)


def test_accumulated_parts_equal_one_large_batch(
    tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = ("student.drop_path_rate=0", "max_steps=3", "log.every=1")
    run(words(tiny_corpus, tiny_teachers, tmp_path / "parts", *same, "accumulate=2"), monkeypatch)
    run(words(tiny_corpus, tiny_teachers, tmp_path / "whole", *same, "batch_size=4"), monkeypatch)
    parts, whole = (train_losses(tmp_path / name) for name in ("parts", "whole"))
    assert parts == pytest.approx(whole, rel=1e-4)


def train_losses(folder: Path) -> list[float]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row["loss_total"] for row in rows if "loss_total" in row]


def test_a_student_may_begin_with_the_weights_of_another(
    finished: Path, tiny_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = f"student.init={finished / 'hub'}"
    run(words(tiny_corpus, tiny_teachers, tmp_path / "run", begin, "optimizer.lr=1e-12", "max_steps=1"), monkeypatch)
    for name, value in weights(finished).items():
        torch.testing.assert_close(weights(tmp_path / "run")[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "optimiser.lr=1",
            r"override 'optimiser\.lr=1': Key 'optimiser' not in 'PretrainConfig'. Did you mean: 'optim",
        ),
        ("teachers.vit.repo=dinov2-smal", r"dinov2-smal.*Did you mean .dinov2-small"),
        ("data.corpus=/nowhere", r"corpus folder '/nowhere' does not exist"),
        (
            "student.image_size=33",
            r"student: image_size: .* 33 x 33 pixels .* patches of 16 pixels: .*nearest: 32 or 48",
        ),
        ("student.size=huge", r"student: .*huge.*base"),
        ("num_processes=2", r"num_processes=2 was asked for, but 1 process\(es\) run"),
        ("max_steps=0", r"max_steps must be at least 1, got 0"),
        ("optimizer.schedule_steps=3", r"max_steps=12 goes past optimizer\.schedule_steps=3"),
        ("mixed_precision=fp8", r"mixed_precision must be no, bf16 or fp16, got 'fp8'"),
        ("ema_decay=1", r"ema_decay must lie in \[0, 1\), got 1"),
        ("stages=[{from_step: 3, sizes: [40]}]", r"stages: 40 pixels are no multiple of the student's patch, 16"),
        ("stages=[{from_step: 30, sizes: [32]}]", r"stages: one begins at step 30, but the schedule ends at 12"),
        ("stages=[{sizes: []}]", r"a stage needs from_step >= 0 and sizes in pixels, got from_step=0, sizes=\[\]"),
        ("student.init=/nowhere", r"student\.init='/nowhere': "),
        (
            "student.num_summary_tokens=3",
            r"student\.num_summary_tokens=3, but 1 teachers teach summaries: set 1, .* or 1",
        ),
        ("teachers.vit.dense_loss=rmse", r"unknown dense loss 'rmse'\. Did you mean 'mse'\? Known: cosine, "),
        ("teachers.vit.sources=[elsewhere]", r"unknown source of teachers\.vit\.sources 'elsewhere'\. .*Known: "),
        ("distillation.drop_teacher=1.5", r"distillation\.drop_teacher must lie in \[0, 1\), got 1\.5"),
        ("distillation.shift=0.5", r"distillation\.shift moves every view anew: set data\.views_per_frame=0"),
        ("log.keep_last=0", r"log\.keep_last must be at least 1, got 0"),
    ],
)
def test_user_errors_are_one_sentence_and_write_nothing(
    change: str,
    message: str,
    tiny_corpus: Path,
    tiny_teachers: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(pretrain.UserError, match=message) as error:
        run(words(tiny_corpus, {"vit": tiny_teachers["vit"]}, tmp_path / "run", change), monkeypatch)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_no_teacher_is_an_error(tiny_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pretrain.UserError, match="no teacher: name at least one"):
        run(words(tiny_corpus, {}, tmp_path / "run"), monkeypatch)


@pytest.fixture
def copy_of_run(finished: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "cut"])
def test_damaged_checkpoint_is_named_and_left_alone(
    damage: str,
    copy_of_run: Path,
    tiny_corpus: Path,
    tiny_teachers: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = copy_of_run / "checkpoints" / "step-00000012" / "model" / "model.safetensors"
    tensors = load_file(file)
    expected = {
        "missing": r"does not fit this model: missing norm\.weight$",
        "extra": r"does not fit this model: extra classifier\.weight$",
        "shape": r"does not fit this model: norm\.weight has shape \(5,\) instead of \(192,\)$",
        "cut": r"model\.safetensors' cannot be read \(SafetensorError\); delete that checkpoint folder",
    }[damage]
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:5000])
    else:
        norm = tensors.pop("norm.weight")
        if damage == "extra":
            tensors |= {"norm.weight": norm, "classifier.weight": torch.zeros(3)}
        if damage == "shape":
            tensors["norm.weight"] = torch.zeros(5)
        save_file(tensors, file)
    before = file.read_bytes()
    with pytest.raises(pretrain.UserError, match=expected):
        run(words(tiny_corpus, tiny_teachers, copy_of_run), monkeypatch)
    assert file.read_bytes() == before


def test_entry_prints_one_line_and_exits_with_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.pretrain", "no_such_key=1"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("error: override 'no_such_key=1'")
    assert "Traceback" not in result.stderr

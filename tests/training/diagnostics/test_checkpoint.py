import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.corpus import Corpus
from training.diagnostics.checkpoint import Opened, locate, open_checkpoint
from training.errors import UserError
from training.objectives.distillation_settings import TeacherConfig

CPU = torch.device("cpu")


def opened(path: Path, corpus: Path, given: dict[str, TeacherConfig] | None = None, *, teachers: bool = True) -> Opened:
    return open_checkpoint(locate(path), given or {}, Corpus.open(corpus), CPU, teachers=teachers)


def test_a_run_is_its_newest_checkpoint(tiny_run: Path, videos_corpus: Path) -> None:
    found = locate(tiny_run)
    assert (found.name, found.step, found.weights) == ("tiny/step-00000004", 4, "last step")
    older = locate(tiny_run / "checkpoints" / "step-00000002")
    assert (older.name, older.step) == ("tiny/step-00000002", 2)
    own = opened(tiny_run, videos_corpus)
    assert own.has_heads
    assert sorted(own.teachers) == ["cnn", "vit"]
    assert not own.student.training
    assert not any(parameter.requires_grad for parameter in own.student.parameters())
    weights = load_file(tiny_run / "checkpoints" / "step-00000004" / "model" / "model.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in own.student.state_dict().items())


def test_heads_are_those_of_the_checkpoint(tiny_run: Path, videos_corpus: Path) -> None:
    checkpoint = tiny_run / "checkpoints" / "step-00000002"
    state = torch.load(checkpoint / "trainer_state.pt", weights_only=True)["objective"]
    objective = opened(checkpoint, videos_corpus).objective
    assert objective is not None
    own = objective.state_dict()
    assert state
    assert all(torch.equal(own[name], value) for name, value in state.items())
    assert not objective.training


def test_the_moving_average_is_measured_where_there_is_one(tiny_run: Path, videos_corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "averaged"
    shutil.copytree(tiny_run, run)
    checkpoint = run / "checkpoints" / "step-00000004"
    shutil.copytree(checkpoint / "model", checkpoint / "average")
    file = checkpoint / "average" / "model.safetensors"
    zeros = {name: torch.zeros_like(value) for name, value in load_file(file).items()}
    save_file(zeros, file, metadata={"format": "pt"})
    own = opened(run, videos_corpus, teachers=False)
    assert own.located.weights == "moving average"
    assert all(not value.any() for value in own.student.state_dict().values())


def test_a_plain_model_takes_its_size_from_its_config(tiny_run: Path, videos_corpus: Path) -> None:
    own = opened(tiny_run / "hub", videos_corpus)
    assert (own.located.name, own.located.step, own.image_size) == ("tiny/hub", None, 32)
    assert own.objective is None
    assert own.trained_on is None


def test_what_is_no_checkpoint(tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither a run folder"):
        locate(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(UserError, match=r"nor a ZEN model folder \(config.json\)"):
        locate(tmp_path)
    alone = tmp_path / "step-00000004"
    shutil.copytree(tiny_run / "checkpoints" / "step-00000004", alone)
    with pytest.raises(UserError, match=r"lies in no run \(no config.yaml two folders above\): name its folder model/"):
        locate(alone)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.yaml").write_text("")
    with pytest.raises(UserError, match="has no checkpoint yet"):
        locate(empty)


def test_weights_that_do_not_fill_the_model_are_refused(tiny_run: Path, videos_corpus: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run / "hub", tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    weights = load_file(file)
    gone = sorted(weights)[0]
    save_file({name: value for name, value in weights.items() if name != gone}, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"cannot be loaded: .* 1 missing: {gone}"):
        opened(tmp_path / "model", videos_corpus)
    file.write_bytes(b"")
    with pytest.raises(UserError, match="cannot be loaded"):
        opened(tmp_path / "model", videos_corpus)


def test_a_model_without_its_processor_is_refused(tiny_run: Path, videos_corpus: Path) -> None:
    with pytest.raises(UserError, match="has no image processor"):
        opened(tiny_run / "checkpoints" / "step-00000004" / "model", videos_corpus)


def test_other_teachers_than_those_of_the_run_are_refused(
    tiny_run: Path, videos_corpus: Path, tiny_teachers: dict[str, Path], tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(tiny_teachers["vit"], moved)
    assert opened(tiny_run, videos_corpus, {"vit": TeacherConfig(repo=str(moved))}).has_heads
    weights = {name: value + 1 for name, value in load_file(moved / "model.safetensors").items()}
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"teacher 'vit' is another than the one that taught 'tiny/step-00000004'"):
        opened(tiny_run, videos_corpus, {"vit": TeacherConfig(repo=str(moved))})


def test_every_teacher_out_of_reach_is_named(tiny_run: Path, videos_corpus: Path) -> None:
    given = {name: TeacherConfig(repo="/gone") for name in ("vit", "cnn")}
    with pytest.raises(UserError, match=r"vit \(.*\); cnn \(.*measure without them with --no-teachers"):
        opened(tiny_run, videos_corpus, given)
    assert opened(tiny_run, videos_corpus, given, teachers=False).objective is None


def test_a_damaged_state_is_named(tiny_run: Path, videos_corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "checkpoints" / "step-00000004" / "trainer_state.pt").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"trainer_state.pt' cannot be read"):
        opened(run, videos_corpus)


def test_sources_that_this_corpus_lacks_are_left_out(tiny_run: Path, videos_corpus: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    config = run / "config.yaml"
    text = config.read_text()
    assert "sources: []" in text
    config.write_text(text.replace("sources: []", "sources: [another]"))
    own = opened(run, videos_corpus)
    assert own.objective is not None
    recorded = json.loads((run / "teachers.json").read_text())
    assert [each["key"] for each in own.objective.describe_teachers()] == [each["key"] for each in recorded]

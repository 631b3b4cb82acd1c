"""All protocols in one run on a small dataset: which tables there are, what they say, what is skipped."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file

from evaluation.benchmark import main
from evaluation.predictions import read_predictions
from evaluation.records import ResultRecord, read_records
from evaluation.skips import read_skips
from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel
from modeling_zen.teacher_adaptor import TeacherAdaptor
from tests.modeling_zen.text_models import SHARED, TINY, make_teacher, make_tokenizer
from training.errors import UserError

PROTOCOLS = ("frozen", "few_shot", "lora", "full_finetune", "zero_shot", "transfer")
SHORT = ("min_steps=2", "max_steps=2", "checks=1")


@pytest.fixture(scope="module")
def speaking_zen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny ZEN whose folder has the adaptor of a tiny SigLIP, which lies beside it."""
    root = tmp_path_factory.mktemp("speaking")
    make_teacher("siglip").save_pretrained(root / "siglip")
    make_tokenizer().save_pretrained(root / "siglip")
    transformers.SiglipImageProcessor(size={"height": 16, "width": 16}).save_pretrained(root / "siglip")
    torch.manual_seed(0)
    ZenModel(ZenConfig(**TINY)).save_pretrained(root / "zen")
    ZenImageProcessor().save_pretrained(root / "zen")
    (root / "zen" / "adaptors").mkdir()
    adaptor = TeacherAdaptor(TINY["hidden_size"], 24, SHARED["siglip"], {})
    weights = {f"adaptor.{name}": weight for name, weight in adaptor.state_dict().items() if "block" not in name}
    facts = {"name": "reader", "repo": str(root / "siglip"), "revision": None, "tokens": "summary"}
    save_file(weights, root / "zen" / "adaptors" / "reader_summary.safetensors", {"adaptor": json.dumps(facts)})
    return root / "zen"


@pytest.fixture(scope="module")
def ran(
    speaking_zen: Path, teacher_folder: Path, synthetic_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[ResultRecord]]:
    output = tmp_path_factory.mktemp("runner") / "results.jsonl"
    words = ["--model", speaking_zen, "--teachers", teacher_folder, "--data-root", synthetic_folder, "--output", output]
    words += ["--tasks", "presence_synthetic", "segmentation_synthetic", "--probes", "linear", "--image-size", 64]
    main([str(word) for word in [*words, "--protocols", *PROTOCOLS, "--finetune", *SHORT]])
    return output, read_records(output)


def test_every_protocol_has_its_tables(ran: tuple[Path, list[ResultRecord]]) -> None:
    _, records = ran
    presence = [record for record in records if record.task == "presence_synthetic"]
    roles = {
        "frozen": {"student", "random_init", "teacher", "histogram", "majority"},
        "few_shot": {"student", "random_init", "teacher", "histogram", "majority"},
        "lora": {"student", "random_init", "teacher", "majority"},
        "full_finetune": {"student", "random_init", "teacher", "majority"},
        "zero_shot": {"student", "majority"},
    }
    for protocol, expected in roles.items():
        assert {record.model_role for record in presence if record.protocol == protocol} == expected
    assert {record.protocol for record in presence} == set(roles)
    shots = {record.shots for record in presence if record.protocol == "few_shot"}
    assert {(each.count, each.subset) for each in shots if each} == {(k, s) for k in (1, 2) for s in (1, 2, 3)}
    assert all(record.shots is None for record in presence if record.protocol != "few_shot")


def test_floors_are_of_the_same_protocol(ran: tuple[Path, list[ResultRecord]]) -> None:
    _, records = ran
    for protocol in ("lora", "full_finetune"):
        members = {r.model_role: r for r in records if r.protocol == protocol}
        floors = members["student"].floors
        assert (floors.majority, floors.random_init) == (members["majority"].value, members["random_init"].value)
        assert floors.histogram is None  # nothing in it can be trained
        assert members["student"].settings["finetune"]["max_steps"] == 2
    zero = next(r for r in records if r.protocol == "zero_shot" and r.model_role == "student")
    assert zero.floors.random_init is None
    assert zero.details["text_model"] == "siglip"


def test_predictions_and_adapters_lie_beside_the_records(ran: tuple[Path, list[ResultRecord]]) -> None:
    output, records = ran
    for record in records:
        if record.task == "presence_synthetic":
            predictions = read_predictions(output.parent / str(record.predictions))
            assert sorted(set(predictions.cases)) == list(record.split.test_cases)
        else:
            assert record.predictions is None
    adapters = output.parent / "results.adapters" / "presence_synthetic-seed0"
    assert (adapters / "adapter_model.safetensors").is_file()
    assert len(list(adapters.parent.iterdir())) == 1  # the model's own; nobody asked for those of others


def test_what_does_not_apply_is_said_with_the_reason(ran: tuple[Path, list[ResultRecord]]) -> None:
    output, _ = ran
    reasons = {(skip.task, skip.protocol, skip.model): skip.reason for skip in read_skips(output)}
    assert "only frozen is" in reasons["segmentation_synthetic", "few_shot", ""]
    assert "needs a task between two datasets" in reasons["presence_synthetic", "transfer", ""]
    assert "cannot be prompted" in reasons["", "zero_shot", "tiny-vit"]


def test_other_training_settings_are_measured_again(
    ran: tuple[Path, list[ResultRecord]], speaking_zen: Path, synthetic_folder: Path, tmp_path: Path
) -> None:
    output = Path(shutil.copytree(ran[0].parent, tmp_path / "copy")) / "results.jsonl"
    words = ["--model", speaking_zen, "--data-root", synthetic_folder, "--output", output, "--image-size", 64]
    words += ["--tasks", "presence_synthetic", "--protocols", "lora", "--finetune", *SHORT, "--lora", "rank=2"]
    before = read_records(output)
    main([str(word) for word in words])
    added = read_records(output)[len(before) :]
    assert {record.model_role for record in added} == {"student", "random_init", "majority"}
    assert all(record.settings["lora"]["rank"] == 2 for record in added)


def test_plan_counts_and_writes_nothing(
    speaking_zen: Path, synthetic_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", speaking_zen, "--data-root", synthetic_folder, "--output", tmp_path / "r.jsonl", "--plan"]
    main([str(word) for word in [*words, "--tasks", "presence_synthetic", "--image-size", 64, "--probes", "linear"]])
    printed = capsys.readouterr().out
    assert "frames: 23 asked for, 23 to decode, each once" in printed
    assert "frozen, linear: 4 fits" in printed
    assert "in all 4 fits for 1 tables; 0 are in the results file already" in printed
    assert list(tmp_path.iterdir()) == []


def test_a_bad_setting_of_training_is_named(speaking_zen: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="epoch"):
        main(["--model", str(speaking_zen), "--output", str(tmp_path / "r.jsonl"), "--finetune", "epochz=3"])


def test_broken_data_takes_its_own_tasks_out(
    speaking_zen: Path, synthetic_folder: Path, endoscapes_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    shutil.copytree(synthetic_folder, root / "synthetic")
    shutil.copytree(endoscapes_folder, root / "endoscapes")
    video = root / "synthetic" / "test" / "videos" / "case004.mp4"
    video.write_bytes(video.read_bytes()[:200])
    output = tmp_path / "results.jsonl"
    words = ["--model", speaking_zen, "--data-root", root, "--output", output, "--image-size", 64, "--probes", "linear"]
    main([str(word) for word in [*words, "--tasks", "presence_synthetic", "cvs_endoscapes"]])
    assert {record.task for record in read_records(output)} == {"cvs_endoscapes"}
    (skip,) = read_skips(output)
    assert skip.task == "presence_synthetic"
    assert "case004.mp4' cannot be decoded" in skip.reason


def test_a_table_that_fails_does_not_stop_the_others(
    speaking_zen: Path, synthetic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise UserError("the loss is not finite")

    monkeypatch.setattr("evaluation.protocols.finetune.fit", fails)
    output = tmp_path / "results.jsonl"
    words = ["--model", speaking_zen, "--data-root", synthetic_folder, "--output", output, "--image-size", 64]
    words += ["--tasks", "presence_synthetic", "--protocols", "full_finetune", "lora", "--finetune", *SHORT]
    main([str(word) for word in words])
    assert {record.protocol for record in read_records(output)} == {"lora"}
    (skip,) = read_skips(output)
    assert (skip.protocol, skip.reason) == ("full_finetune", "the loss is not finite")


def test_a_second_run_measures_nothing_under_any_protocol(
    ran: tuple[Path, list[ResultRecord]], speaking_zen: Path, teacher_folder: Path, synthetic_folder: Path
) -> None:
    output, records = ran
    words = ["--model", speaking_zen, "--teachers", teacher_folder, "--data-root", synthetic_folder, "--output", output]
    words += ["--tasks", "presence_synthetic", "segmentation_synthetic", "--probes", "linear", "--image-size", 64]
    main([str(word) for word in [*words, "--protocols", *PROTOCOLS, "--finetune", *SHORT]])
    assert read_records(output) == records


def test_two_folders_of_one_dataset_take_its_tasks_out(
    speaking_zen: Path, synthetic_folder: Path, endoscapes_folder: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        shutil.copytree(synthetic_folder, tmp_path / "root" / name)
    shutil.copytree(endoscapes_folder, tmp_path / "root" / "endoscapes")
    output = tmp_path / "results.jsonl"
    words = ["--model", speaking_zen, "--data-root", tmp_path / "root", "--output", output, "--image-size", 64]
    main([str(word) for word in [*words, "--probes", "knn"]])
    assert {record.task for record in read_records(output)} == {"presence_endoscapes", "cvs_endoscapes"}
    assert {skip.task for skip in read_skips(output)} == {"presence_synthetic", "segmentation_synthetic"}
    assert all("two synthetic datasets lie below" in skip.reason for skip in read_skips(output))

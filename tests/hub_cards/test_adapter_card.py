"""The adapter command: from an adapter and its record to a folder whose printed code says what the adapter says."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import peft
import pytest
import torch
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from evaluation.backbones.zen import ZenNetwork
from evaluation.datasets.samples import Target
from evaluation.protocols import lora
from evaluation.protocols.headed_network import HeadedNetwork
from hub_cards.adapter_card import main
from modeling_zen import ZenModel
from tests.hub_cards.conftest import SIZE, Files
from training.errors import UserError
from training.teachers.preprocessing import Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # those of ZenImageProcessor
CLASSES = ("dissection", "<b>clipping</b>|", "packaging")


@dataclass(frozen=True)
class Trained:
    """An adapter folder with its record."""

    files: Files
    folder: Path
    network: HeadedNetwork
    output: Path

    def arguments(self, **changes: object) -> list[str]:
        """Of the command."""
        named = {"base": self.files.run / "hub", "base-id": "org/zen", "output": self.output, **changes}
        options = [word for name, value in named.items() for word in (f"--{name}", str(value))]
        return [str(self.folder), str(self.files.results), *options]

    def text(self) -> str:
        """Of the card."""
        return (self.output / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def trained(files, tmp_path) -> Trained:
    model = ZenModel.from_pretrained(files.run / "hub")
    adapted = peft.get_peft_model(model, lora.lora_config(model, lora.LoraSettings(rank=2)))
    torch.manual_seed(3)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:  # begins as zero
            torch.nn.init.normal_(weight, std=0.5)
    network = HeadedNetwork(ZenNetwork("zen", model, Preprocessing(MEAN, STD, 1.0, "rgb", "bilinear")), 3).eval()
    network.center.copy_(torch.tensor([1.0, 2.0, 3.0]))
    folder = tmp_path / "results.adapters" / "phase-seed0"
    lora.save_adapter(adapted, network, Target("phase", "single", CLASSES), SIZE, folder)
    details = {
        "adapter_sha256": lora.hash_adapter(folder),
        "trainable_parameters": 1234,
        "parameters": 56789,
        "adapted_layers": 12,
        "lora": {"rank": 2, "alpha": 16.0, "dropout": 0.0, "lr": 5e-4},
    }
    records = [
        {**record, "protocol": "lora", "probe": "linear head", "details": details if number == 0 else {}}
        for number, record in enumerate(files.records()[:5])
    ]
    files.write_records([*files.records(), *records])
    return Trained(files, folder, network, tmp_path / "my-adapter")


def test_leaves_exactly_the_adapter_its_card_and_its_results(trained):
    main(trained.arguments())
    assert {path.name for path in trained.output.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "head_config.json",
        "task_head.safetensors",
        "README.md",
        "LICENSE.md",
        "card.json",
        ".eval_results",
    }
    for name in ("adapter_model.safetensors", "task_head.safetensors"):
        assert (trained.output / name).read_bytes() == (trained.folder / name).read_bytes()
    main(trained.arguments())  # replaces what it made


def test_the_base_model_goes_by_its_id_and_no_path_is_published(trained):
    config = json.loads((trained.folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"].startswith("/")
    main(trained.arguments())
    assert json.loads((trained.output / "adapter_config.json").read_text())["base_model_name_or_path"] == "org/zen"
    for path in filter(Path.is_file, trained.output.rglob("*")):
        assert str(trained.files.run.parent).encode() not in path.read_bytes(), path.name


def test_metadata_is_what_the_hub_reads(trained):
    main(trained.arguments())
    data = ModelCard.load(trained.output / "README.md").data
    assert (data.library_name, data.base_model, data.pipeline_tag) == ("peft", "org/zen", "image-classification")
    [result] = data.eval_results
    assert (result.metric_value, result.metric_args["protocol"]) == (0.61, "lora")
    # The base folder has no card that would state one.
    assert (data.license, data.license_name, data.license_link) == ("other", "see-inputs", "LICENSE.md")
    assert "| the base model | not recorded | not recorded: " in (trained.output / "LICENSE.md").read_text()


@pytest.mark.parametrize(
    "part",
    [
        "**Not a medical device**: for research only.",
        "they say phase (single, 3 outputs) of synthetic",
        "| trained parameters | 1,234 with the head |",
        "| rank, alpha | 2, 16 |",
        "| chosen | k 5, on train folds by case (mAP) |",
        "| random init | 0.420 (0.370 to 0.470) | +0.190 (+0.150 to +0.230) |",
        "Trained: 1,234 parameters.",
        "Test files in the pretraining corpus of the base model: 0.",
        "- No difference from color histogram is shown in 1 of 1 comparisons: presence_synthetic (lora, linear head).",
        "- Not recorded is the licence of the base model: assume that nothing is permitted.",
    ],
)
def test_card_says(trained, part):
    main(trained.arguments())
    assert part in trained.text()


def test_the_licence_of_the_base_model_is_passed_on(trained):
    ModelCard("---\nlicense: cc-by-nc-4.0\n---\n").save(trained.files.run / "hub" / "README.md")
    main(trained.arguments())
    assert "No commercial use of these weights: the base model (cc-by-nc-4.0) permits none." in trained.text()
    assert ModelCard.load(trained.output / "README.md").data.license == "cc-by-nc-4.0"
    front = "license: other\nlicense_name: see-inputs-non-commercial\nlicense_link: LICENSE.md"
    ModelCard(f"---\n{front}\n---\n").save(trained.files.run / "hub" / "README.md")
    main(trained.arguments())
    data = ModelCard.load(trained.output / "README.md").data
    assert (data.license, data.license_name) == ("other", "see-inputs-non-commercial")
    assert "No commercial use of these weights: the base model" in trained.text()


def test_names_of_classes_cannot_act(trained):
    main(trained.arguments())
    page = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(trained.text())
    assert "&lt;b&gt;clipping&lt;/b&gt;|" in page
    assert "<b>" not in page


def test_its_code_gives_the_scores_of_the_adapter(trained, monkeypatch):
    main(trained.arguments())
    shutil.copytree(trained.files.run / "hub", trained.output.parent / "org" / "zen")
    monkeypatch.chdir(trained.output.parent)
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", trained.text(), flags=re.DOTALL):
        exec(compile(block.replace(", trust_remote_code=True", ""), "README.md", "exec"), names)
    black = torch.zeros(1, 3, SIZE, SIZE)
    with torch.no_grad():
        wanted = trained.network.head(trained.network.pooled(black)) * trained.network.scale + trained.network.center
    torch.testing.assert_close(names["scores"], wanted, rtol=1e-4, atol=1e-4)


def test_an_adapter_without_its_record_is_refused(trained):
    with safe_open(trained.folder / lora.HEAD_FILE, framework="pt") as opened:
        metadata = opened.metadata()
    head = load_file(trained.folder / lora.HEAD_FILE)
    save_file({**head, "center": head["center"] + 1}, trained.folder / lora.HEAD_FILE, metadata=metadata)
    with pytest.raises(UserError, match=r"has no record of the adapter .*; it is of another run, or was trained again"):
        main(trained.arguments())
    assert not trained.output.exists()


def test_what_the_head_says_cannot_become_code(trained):
    with safe_open(trained.folder / lora.HEAD_FILE, framework="pt") as opened:
        facts = json.loads(opened.metadata()["head"])
    head = load_file(trained.folder / lora.HEAD_FILE)
    for size in ("__import__('os').getcwd()", 32.5, None, True):
        metadata = {"head": json.dumps({**facts, "image_size": size})}
        save_file(head, trained.folder / lora.HEAD_FILE, metadata=metadata)
        with pytest.raises(UserError, match=r"image_size of '.*task_head.safetensors' is no whole number"):
            main(trained.arguments())


def test_another_base_model_is_refused(trained, tmp_path):
    ZenModel(ZenModel.from_pretrained(trained.files.run / "hub").config).save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match=r"the adapter was trained on weights .*, but --base .*other' has"):
        main(trained.arguments(base=tmp_path / "other"))
    with pytest.raises(UserError, match=r"model.safetensors' does not exist"):
        main(trained.arguments(base=tmp_path))


def test_user_errors(trained):
    with pytest.raises(UserError, match="--base-id '/tmp/zen' is no id of a model; it has the form ORG/NAME"):
        main(trained.arguments(**{"base-id": "/tmp/zen"}))
    (trained.folder / "optimizer.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"optimizer.pt' does not belong in an adapter folder"):
        main(trained.arguments())
    (trained.folder / "optimizer.pt").unlink()
    (trained.folder / lora.HEAD_FILE).rename(trained.folder.parent / "head")
    with pytest.raises(UserError, match=r"is no adapter folder of the benchmark: task_head.safetensors is missing"):
        main(trained.arguments())
    (trained.folder / lora.HEAD_FILE).write_bytes(b"no tensors")
    with pytest.raises(UserError, match=r"holds a file that is not valid safetensors"):
        main(trained.arguments())
    shutil.rmtree(trained.folder)
    with pytest.raises(UserError, match=r"does not exist; evaluation.benchmark --protocols lora keeps them"):
        main(trained.arguments())
    with pytest.raises(UserError, match="the following arguments are required: --base"):
        main([str(trained.folder), str(trained.files.results)])

"""Folders that others could not load, or not whole. Each load is a process of its own."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file, save_file

from hub_cards.publishing import loading
from hub_cards.publishing.kinds import KINDS
from hub_cards.publishing.loading import check_loading, check_model
from hub_cards.run_records import WEIGHTS, hash_weights_file
from modeling_zen import ZenModel
from modeling_zen.export.exporter import weights_sha256
from modeling_zen.export.graph import for_export
from modeling_zen.export.runtime import ZenExportedModel
from tests.hub_cards.test_publish import make_adapter
from training.errors import UserError


def test_weights_that_lack_a_tensor(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("norm.weight"))
    del weights[name]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=rf"cannot be loaded by others: .*1 missing: {name}"):
        check_model(folder)


def test_code_that_needs_this_project(folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_" + "w" * 34)
    code = folder / "modeling_zen.py"
    code.write_text(
        'import os\nassert "HF_TOKEN" not in os.environ\nimport training.errors\n' + code.read_text(encoding="utf-8")
    )
    with pytest.raises(UserError, match=r"cannot be loaded by others: .*training"):
        check_model(folder)


def answer(monkeypatch: pytest.MonkeyPatch, stdout: str, code: int = 0) -> None:
    """Let the process have said this."""
    done = subprocess.CompletedProcess([], code, stdout, "")
    monkeypatch.setattr(loading.subprocess, "run", lambda *_, **__: done)


def test_answers_of_the_process(monkeypatch, tmp_path):
    answer(monkeypatch, 'noise\n{"problems": {}, "parameters": 1000, "values": 10, "finite": true}\n')
    assert check_model(tmp_path) == "1,000 parameters, 10 features of one image"
    answer(monkeypatch, '{"problems": {}, "parameters": 1000, "values": 10, "finite": false}')
    with pytest.raises(UserError, match="gives features that are not finite numbers"):
        check_model(tmp_path)
    answer(monkeypatch, '{"problems": {"unexpected_keys": ["a", "b"]}, "parameters": 1, "values": 1, "finite": true}')
    with pytest.raises(UserError, match="does not load whole, unexpected keys: a, b"):
        check_model(tmp_path)
    for said in ("", "[1]", "killed"):
        answer(monkeypatch, said, -9)
        with pytest.raises(UserError, match="cannot be loaded by others: the process ended with -9"):
            check_model(tmp_path)


def test_a_process_that_hangs(monkeypatch, tmp_path):
    def hang(*_: object, **named: float) -> None:
        raise subprocess.TimeoutExpired("python", named["timeout"])

    monkeypatch.setattr(loading.subprocess, "run", hang)
    with pytest.raises(UserError, match="was not loaded within 900 seconds"):
        check_model(tmp_path)


def test_an_adapter_on_another_base_than_it_was_trained_on(tmp_path, folder):
    adapter = tmp_path / "adapter"
    make_adapter(folder, adapter)
    said = check_loading(KINDS["adapter"], adapter, str(folder))
    assert said.endswith("; on which weights it was trained is recorded nowhere")
    marker = {"made_by": "hub_cards.card", "files": {}, "weights_sha256": hash_weights_file(folder / WEIGHTS)}
    (adapter / "card.json").write_text(json.dumps(marker))
    assert check_loading(KINDS["adapter"], adapter, str(folder)).endswith(", and are those it was trained on")
    change_weights(folder)
    with pytest.raises(
        UserError, match=r"adapter' was made from weights \w{12}, but .*my-zen has \w{12}: name its own"
    ):
        check_loading(KINDS["adapter"], adapter, str(folder))


def change_weights(folder: Path) -> None:
    """Other numbers in the same tensors."""
    weights = load_file(folder / WEIGHTS)
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, folder / WEIGHTS, metadata={"format": "pt"})


def test_an_export_of_another_base(tmp_path, folder, monkeypatch):
    facts = {"format": "onnx", "precision": "fp32"}
    facts["source_weights_sha256"] = weights_sha256(for_export(ZenModel.from_pretrained(folder)))
    monkeypatch.setattr(ZenExportedModel, "from_pretrained", lambda path: SimpleNamespace(facts=facts))
    assert check_loading(KINDS["export"], tmp_path, str(folder)) == "onnx in fp32"
    change_weights(folder)
    with pytest.raises(
        UserError, match=r"was made from weights \w{12}, but .*my-zen has \w{12}: name its own base model"
    ):
        check_loading(KINDS["export"], tmp_path, str(folder))
    del facts["source_weights_sha256"]
    with pytest.raises(UserError, match=r"export.json has no 'source_weights_sha256'"):
        check_loading(KINDS["export"], tmp_path, str(folder))
    with pytest.raises(UserError, match=r"the base model .*none of '.*' cannot be loaded"):
        check_loading(KINDS["export"], tmp_path, str(tmp_path / "none"))


def test_adapters_exports_and_metrics_that_cannot_be_loaded(tmp_path, folder):
    (tmp_path / "adapter").mkdir()
    with pytest.raises(UserError, match=r"the adapter '.*' cannot be put onto .*my-zen"):
        check_loading(KINDS["adapter"], tmp_path / "adapter", str(folder))
    with pytest.raises(UserError, match=r"the export '.*' cannot be loaded: .* holds no export.json"):
        check_loading(KINDS["export"], tmp_path, "org/zen")
    metric = tmp_path / "broken"
    metric.mkdir()
    Path(metric / "broken.py").write_text("def of(:")
    with pytest.raises(UserError, match=r"the metric '.*broken' cannot be loaded"):
        check_loading(KINDS["metric"], metric, "")

"""What is collected from a folder of each kind, and what stops it."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hub_cards.publishing.publication import Base, check_repo_id, check_unchanged, find_base_id, locate
from tests.hub_cards.publishing.conftest import WHY, mark_again, plan
from training.errors import UserError

BASE = Base("org/zen", {"license": "cc-by-4.0"})


def edit(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def test_an_unchanged_folder_goes_as_it_is(folder):
    publication = plan(folder)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(publication.files) == names
    made = json.loads((folder / "card.json").read_text())
    marker = json.loads(publication.files["card.json"])
    readme = publication.files["README.md"]
    assert marker == {**made, "files": {**made["files"], "README.md": hashlib.sha256(readme).hexdigest()}}
    assert publication.sizes()["model.safetensors"] == (folder / "model.safetensors").stat().st_size
    assert (publication.kind.name, publication.base_id, publication.notes) == ("model", "", ())


def test_the_folder_of_the_demo_is_found_below_it(folder):
    demo = folder.rename(folder.parent / "hub").parent
    assert locate(demo, None)[0] == demo / "hub"


def test_an_edited_card_goes_with_a_note_and_any_other_change_does_not(folder):
    readme = folder / "README.md"
    readme.write_text(readme.read_text() + "\nContact: us\n")
    publication = plan(folder)
    assert publication.notes == ("README.md was edited by hand since hub_cards.card made it",)
    assert publication.card.endswith("Contact: us\n")
    edit(folder / "training.json", steps=1000000)
    with pytest.raises(UserError, match=r"was changed after hub_cards.card made it \(README.md, training.json\)"):
        plan(folder)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("| **ZEN nano** | 0.610", "| **ZEN nano** | 0.910"),
        ("value: 0.61\n", "value: 0.91\n"),
        ("## Limitations", "| accuracy |\n|---|\n| 0.99 |\n\n## Limitations"),
        ("## Limitations", "<table><tr><td>0.99</table>\n\n## Limitations"),
        ("\nmodel-index:", "\n'model-index':"),
    ],
)
def test_figures_are_not_edited_by_hand(folder, before, after):
    readme = folder / "README.md"
    text = readme.read_text()
    assert before in text
    readme.write_text(text.replace(before, after, 1))
    with pytest.raises(
        UserError, match=r"tables or results in the metadata of '.*README.md' are not as hub_cards.card"
    ):
        plan(folder)


def test_weights_of_another_model_under_the_same_card(folder):
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, folder / "model.safetensors", metadata={"format": "pt"})
    mark_again(folder)
    with pytest.raises(UserError, match=r"the card of '.*' is about weights .*, but those in it are .*: make it again"):
        plan(folder)


def test_markers_that_are_none(folder):
    for files in (["README.md"], {"README.md": 3}):
        edit(folder / "card.json", files=files)
        with pytest.raises(UserError, match=r"'files' of '.*card.json' is no list of names with hashes"):
            plan(folder)
    inputs = json.loads((folder / "card.json").read_text())["inputs"]
    edit(folder / "card.json", inputs=["teacher"], files={})
    with pytest.raises(UserError, match=r"'inputs' of '.*card.json' is no list of names with licences"):
        plan(folder)
    edit(folder / "card.json", inputs=inputs, files={"../../secret.json": "a" * 64})
    with pytest.raises(UserError, match=r"was changed after hub_cards.card made it \(../../secret.json"):
        plan(folder)


def test_a_file_that_changes_after_it_was_checked(folder):
    publication = plan(folder)
    check_unchanged(publication)
    (folder / "README.md").write_text("swapped")
    check_unchanged(publication)  # texts were read once: what is sent is what was checked
    assert publication.files["README.md"] == publication.card.encode()
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"model.safetensors was changed while it was published: run the same command"):
        check_unchanged(publication)


def test_a_model_that_no_card_was_made_for(folder):
    (folder / "card.json").unlink()
    with pytest.raises(UserError, match=r"was not made by hub_cards.card, so nothing says what its figures rest on"):
        plan(folder)
    (folder / "README.md").unlink()
    with pytest.raises(UserError, match=r"is no complete model folder: README.md is missing; make its card with"):
        plan(folder)


def test_teachers_and_the_licence_of_the_card(folder):
    with pytest.raises(UserError, match=r"licence of the corpus, which was not at hand \(not recorded\) is not known"):
        plan(folder, accepted=None)
    readme = folder / "README.md"
    readme.write_text(readme.read_text().replace("license: other", "license: apache-2.0", 1))
    with pytest.raises(UserError, match=r"licence of the corpus, which was not at hand \(not recorded\) is not known"):
        plan(folder, accepted=None)
    edit(folder / "card.json", inputs=[["the code", "apache-2.0"]])
    assert plan(folder, accepted=None).accepted is None
    edit(folder / "card.json", inputs=[["corpus source a", "CC BY-NC 4.0"]])
    with pytest.raises(UserError, match=r"corpus source a \(CC BY-NC 4.0\) permits no commercial use, but README.md"):
        plan(folder)
    edit(folder / "card.json", inputs=[])
    teachers = json.loads((folder / "teachers.json").read_text())
    teachers[1]["licence"] = "CC BY-NC-SA 4.0"
    (folder / "teachers.json").write_text(json.dumps(teachers))
    mark_again(folder)
    with pytest.raises(UserError, match=r"teacher dinov2-small \(CC BY-NC-SA 4.0\) permits no commercial use, but"):
        plan(folder)
    teachers[1]["licence"] = None
    (folder / "teachers.json").write_text(json.dumps(teachers))
    mark_again(folder)
    with pytest.raises(UserError, match=r"the licence of teacher dinov2-small \(not recorded\) is not known"):
        plan(folder, accepted=None)


def test_traces_and_tokens_in_the_folder(folder):
    edit(folder / "training.json", host="/data/site/run7/x")
    mark_again(folder)
    with pytest.raises(UserError, match=r"training.json line 1 holds a path of a machine, '/data/site/run7/x'"):
        plan(folder)
    edit(folder / "training.json", host="")
    mark_again(folder)
    with pytest.raises(UserError, match="--accept-licence holds what looks like a token"):
        plan(folder, accepted="hf_" + "a" * 34)
    with pytest.raises(UserError, match="--accept-licence is empty: say why you may publish"):
        plan(folder, accepted=" ")


@pytest.mark.parametrize("name", ["zen", "a/b/c", "org/na me", "../zen", "org/zen\n"])
def test_names_of_repositories(name):
    with pytest.raises(UserError, match=r"--repo-id .* is no repository name: it must be ORG/NAME"):
        check_repo_id(name, "--repo-id")


@pytest.fixture
def adapter(tmp_path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file({"a": torch.zeros(1)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/models/zen"}))
    (folder / "head_config.json").write_text(json.dumps({"_name_or_path": "/models/zen", "labels": 3}))
    card = "---\nbase_model: /models/zen\nlibrary_name: peft\nlicense: mit\n---\n\nOf /models/zen.\n"
    (folder / "README.md").write_text(card)
    return folder


def test_every_file_of_an_adapter_names_the_base_by_id(adapter):
    publication = plan(adapter, base=BASE, accepted=None)
    assert json.loads(publication.files["adapter_config.json"]) == {"base_model_name_or_path": "org/zen"}
    assert json.loads(publication.files["head_config.json"]) == {"_name_or_path": "org/zen", "labels": 3}
    assert publication.card == "---\nbase_model: org/zen\nlibrary_name: peft\nlicense: mit\n---\n\nOf org/zen.\n"
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "/models/zen"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "base_model: org/zen\ntags:\n- base_model:adapter:org/zen",
            "base_model: org/z2\ntags:\n- base_model:adapter:org/z2",
        ),
        ("base_model: zen\ntags:\n- zen", "base_model: org/z2\ntags:\n- zen"),
        ("base_model: org/zen\nother: org/zen-nano", "base_model: org/z2\nother: org/zen-nano"),
    ],
)
def test_only_the_base_is_renamed_in_the_card(adapter, before, after):
    rest = "\nlibrary_name: peft\nlicense: mit\n---\n\nText.\n"
    (adapter / "README.md").write_text(f"---\n{before}{rest}")
    assert plan(adapter, base=Base("org/z2", {"license": "mit"})).card == f"---\n{after}{rest}"


def test_the_base_of_an_adapter(adapter, monkeypatch):
    _, kind = locate(adapter, None)
    with pytest.raises(UserError, match=r"names its base model by the path '/models/zen': give its id with --base-id"):
        find_base_id(adapter, kind, None)
    assert find_base_id(adapter, kind, "org/zen") == "org/zen"
    edit(adapter / "adapter_config.json", base_model_name_or_path="runs/hub")
    assert find_base_id(adapter, kind, None) == "runs/hub"
    monkeypatch.chdir(adapter.parent)
    Path("runs/hub").mkdir(parents=True)
    with pytest.raises(UserError, match="names its base model by the path 'runs/hub'"):
        find_base_id(adapter, kind, None)
    with pytest.raises(UserError, match="--base-id 'zen' is no repository name"):
        find_base_id(adapter, kind, "zen")
    with pytest.raises(UserError, match=r"base model org/zen \(cc-by-nc-4.0\) permits no commercial use"):
        plan(adapter, base=Base("org/zen", {"license": "cc-by-nc-4.0"}))


def test_an_address_with_a_password_is_not_repeated(adapter):
    _, kind = locate(adapter, None)
    for secret in ("hf_" + "Ab1" * 10, "s3cret-words"):
        edit(adapter / "adapter_config.json", base_model_name_or_path=f"https://me:{secret}@host/org/zen")
        with pytest.raises(UserError, match=r"names its base model by the path 'https://\(secret\)@host") as caught:
            find_base_id(adapter, kind, None)
        with pytest.raises(UserError, match="is no repository name") as also:
            find_base_id(adapter, kind, f"https://me:{secret}@host/org/zen")
        assert secret not in f"{caught.value!r} {also.value!r}"


def test_a_base_is_for_adapters_and_exports(folder):
    _, kind = locate(folder, None)
    assert find_base_id(folder, kind, None) == ""
    with pytest.raises(UserError, match=r"--base-id is for adapters and exports; .* is a model"):
        find_base_id(folder, kind, "org/zen")


@pytest.fixture
def export(tmp_path) -> Path:
    folder = tmp_path / "exported"
    folder.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    (folder / "openvino_model.xml").write_text("<net/>")
    (folder / "openvino_model.bin").write_bytes(b"raw")
    facts = {
        "format": "openvino",
        "precision": "int8",
        "input": {"height": 224, "width": 224},
        "parity": {
            "frames": 16,
            "on": "frames of calibration",
            "pooler": {"cosine_mean": 0.9987, "cosine_min": 0.99},
            "dense": {"cosine_mean": 0.9955, "cosine_min": 0.98},
        },
        "versions": {"openvino": "1.2"},
        "source_weights_sha256": "f" * 64,
        "files": {"openvino_model.xml": 6, "openvino_model.bin": 3},
    }
    (folder / "export.json").write_text(json.dumps(facts))
    return folder


def test_an_export_gets_a_card(export):
    publication = plan(export, base=BASE, accepted=None)
    for part in (
        "library_name: openvino\n",
        "license: cc-by-4.0\nbase_model: org/zen\nbase_model_relation: quantized\n",
        "as a graph for openvino in int8. Input: 224 × 224 px.",
        "Agreement with the original on 16 frames of calibration:",
        "| pooled | 0.998700 | 0.990000 |\n| dense | 0.995500 | 0.980000 |",
        "from weights `ffffffffffff`",
    ):
        assert part in publication.card
    assert set(publication.files) == {path.name for path in export.iterdir()} | {"README.md", "card.json"}


def test_an_export_of_a_base_with_terms_of_its_own(export):
    licence = {"license": "other", "license_name": "see-inputs-non-commercial", "license_link": "LICENSE.md"}
    with pytest.raises(
        UserError, match=r"org/zen \(see-inputs-non-commercial\) permits no commercial use, but the tex"
    ):
        plan(export, base=Base("org/zen", licence))
    card = plan(export, base=Base("org/zen", {**licence, "license_name": "see-inputs"})).card
    assert "license_link: https://huggingface.co/org/zen/blob/main/LICENSE.md\n" in card


def test_what_stops_an_export(export):
    _, kind = locate(export, None)
    with pytest.raises(UserError, match="names no base model: give its id with --base-id"):
        find_base_id(export, kind, None)
    with pytest.raises(UserError, match="the card of 'org/zen' states no license"):
        plan(export, base=Base("org/zen", {}))
    facts = json.loads((export / "export.json").read_text())
    edit(export / "export.json", files={**facts["files"], "evil.pkl": 1, "../up.onnx": 1})
    (export / "evil.pkl").write_bytes(b"x")  # although export.json lists it
    with pytest.raises(UserError, match=r"evil.pkl' is of a format that may run code"):
        plan(export, base=BASE)
    (export / "evil.pkl").unlink()
    edit(export / "export.json", files={**facts["files"], "../up.onnx": 1})
    with pytest.raises(UserError, match=r"export.json lists the file '../up.onnx', which is not among those that are"):
        plan(export, base=BASE)
    edit(export / "export.json", files=facts["files"])
    for value in (float("nan"), "0.99", True, None):
        edit(export / "export.json", parity={**facts["parity"], "pooler": {"cosine_mean": value, "cosine_min": 0.9}})
        with pytest.raises(UserError, match=r"cosine_mean of pooler in .*export.json is .*, not a finite number"):
            plan(export, base=BASE)
    edit(export / "export.json", parity={})
    with pytest.raises(UserError, match=r"export.json has no 'pooler'"):
        plan(export, base=BASE)


def test_folders_that_are_nothing(tmp_path):
    with pytest.raises(UserError, match=r"holds nothing to publish: a model, adapter or export has config.json"):
        locate(tmp_path, None)
    (tmp_path / "README.md").write_text("x")
    with pytest.raises(UserError, match=f"is no metric: evaluate looks for {tmp_path.name}.py in it"):
        locate(tmp_path, "metric")


def test_a_metric_keeps_its_name():
    folder = Path(__file__).parents[3] / "evaluation" / "metrics" / "triplet_average_precision"
    with pytest.raises(UserError, match="a metric is found by its name: publish it as org/triplet_average_precision"):
        plan(folder)
    assert plan(folder, repo_id="org/triplet_average_precision").card.startswith(
        "---\ntitle: triplet average precision"
    )


@pytest.mark.parametrize("folder", sorted((Path(__file__).parents[3] / "evaluation" / "metrics").glob("*/README.md")))
def test_every_metric_can_be_published(folder):
    name = folder.parent.name
    publication = plan(folder.parent, repo_id=f"org/{name}", accepted=WHY)
    added = {"app.py", "card.json", "example.json", "requirements.txt"}
    assert set(publication.files) == {"README.md", f"{name}.py", *added}
    compile(publication.files["app.py"], "app.py", "exec")
    needed = {line.partition(">")[0] for line in publication.files["requirements.txt"].decode().split()}
    assert needed <= {"datasets", "evaluate", "numpy", "scipy", "scikit-learn"}, needed

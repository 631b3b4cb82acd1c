import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from training.errors import UserError
from training.teachers import load_teacher
from training.teachers.checkpoint import hash_weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # of org/dinov2 on the loopback Hub


@pytest.mark.parametrize("name", ["./nothing", "/nothing/at/all", "runs/teachers/lite0", "~/nothing"])
def test_a_missing_folder_is_called_a_missing_folder(name: str) -> None:
    with pytest.raises(UserError, match=rf"teacher folder '{name}' does not exist"):
        load_teacher(name)


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no config.json, so it is not a model"):
        load_teacher(str(tmp_path))


def test_offline_and_not_cached() -> None:
    with pytest.raises(UserError, match=r"is not in the local cache, .*training\.teachers fetch dinov2-small` where"):
        load_teacher("dinov2-small")


def test_a_hub_teacher_records_the_commit_it_came_from(
    loopback_hub: list[str], monkeypatch: pytest.MonkeyPatch, model_folder: Callable[[str], Path]
) -> None:
    teacher = load_teacher("org/dinov2")
    identity = teacher.identity()
    assert (identity["repo"], identity["revision"]) == ("org/dinov2", COMMIT)
    assert identity["source"] == "https://huggingface.co/org/dinov2"
    weights = next(request for request in loopback_hub if "model.safetensors" in request)
    assert f"/resolve/{COMMIT}/" in weights  # not "main": the repository may move between two files
    local = load_teacher(str(model_folder("dinov2"))).identity()
    assert identity["weights_sha256"] == local["weights_sha256"]
    # Now it is cached, and the Hub is gone.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_teacher("org/dinov2", revision=COMMIT).identity() == identity


@pytest.mark.parametrize(
    ("repo", "revision", "message"),
    [
        (
            "org/gated",
            None,
            "org/gated is gated, .*: accept its terms at http://127.0.0.1:.*/org/gated and run `hf auth",
        ),
        ("org/gone", None, "there is no folder and no public Hub model called 'org/gone'"),
        ("org/dinov2", "v9", "org/dinov2 has no revision 'v9'"),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(
    repo: str, revision: str | None, message: str, loopback_hub: list[str]
) -> None:
    with pytest.raises(UserError, match=message):
        load_teacher(repo, revision=revision)


@pytest.mark.parametrize("revision", [None, "main", "0123abc"])
def test_remote_code_needs_a_pinned_commit(revision: str | None) -> None:
    with pytest.raises(UserError, match=r"needs a pinned revision .*40 hexadecimal digits"):
        load_teacher("org/custom", revision=revision, trust_remote_code=True)


def test_remote_code_is_off_by_default(edited_folder: Callable[..., Path]) -> None:
    def change(values: dict[str, Any]) -> None:
        values["model_type"] = "nobody-knows"
        values["auto_map"] = {"AutoConfig": "configuration_x.XConfig", "AutoModel": "modeling_x.XModel"}

    with pytest.raises(UserError, match="needs code from its repository; set trust_remote_code and pin its revision"):
        load_teacher(str(edited_folder("dinov2", "config.json", change)))


def test_an_unknown_model_type(edited_folder: Callable[..., Path]) -> None:
    folder = edited_folder("dinov2", "config.json", lambda values: values.update(model_type="nobody-knows"))
    with pytest.raises(UserError, match=r"its configuration cannot be read: .*nobody-knows"):
        load_teacher(str(folder))


def test_missing_weights_are_refused_by_name(edited_folder: Callable[..., Path]) -> None:
    folder = edited_folder("dinov2", "config.json", lambda values: None)
    tensors = load_file(folder / "model.safetensors")
    del tensors["layernorm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"the file lacks weights of the encoder: layernorm.weight; config.json and"):
        load_teacher(str(folder))


def test_a_config_with_fewer_layers_than_the_file_is_refused(edited_folder: Callable[..., Path]) -> None:
    folder = edited_folder("siglip", "config.json", lambda values: values["vision_config"].update(num_hidden_layers=1))
    with pytest.raises(UserError, match=r"the encoder has no place for: \S*layers\.1\S*, .* and \d+ more; config.json"):
        load_teacher(str(folder))


def test_weights_of_another_width_are_refused(edited_folder: Callable[..., Path]) -> None:
    folder = edited_folder("dinov2", "config.json", lambda values: values.update(hidden_size=64))
    with pytest.raises(UserError, match="its weights cannot be read"):
        load_teacher(str(folder))


def test_a_truncated_weights_file(edited_folder: Callable[..., Path]) -> None:
    folder = edited_folder("dinov2", "config.json", lambda values: None)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="its weights cannot be read"):
        load_teacher(str(folder))


def test_weights_stored_in_half_precision_load_as_float32(edited_folder: Callable[..., Path]) -> None:
    folder = edited_folder("dinov2", "config.json", lambda values: values.update(dtype="float16"))
    tensors = {key: tensor.half() for key, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert load_teacher(str(folder))(torch.rand(1, 3, 56, 56)).summary.dtype == torch.float32


def described(**spec: Any) -> dict[str, Any]:
    values = {"kind": "tokens", "summary": "pooler", "dense": True, "num_prefix_tokens": 1, "patch_size": 14}
    values |= {"min_size": 28, "max_size": 140, "size_multiple": 14, "roles": ["summary", "dense"], **spec}
    return {"name": "mine", "licence": "mit", "source": "my lab", "spec": values}


def test_teacher_json_names_the_teacher_and_its_terms(edited_folder: Callable[..., Path]) -> None:
    folder = edited_folder("dinov2", "config.json", lambda values: None)
    (folder / "teacher.json").write_text(json.dumps(described(roles=["dense"])))
    teacher = load_teacher(str(folder))
    assert teacher.spec.roles == ("dense",)
    identity = teacher.identity()
    assert (identity["name"], identity["licence"], identity["source"]) == ("mine", "mit", "my lab")
    assert identity["repo"] == folder.name
    assert str(folder.parent) not in json.dumps(identity)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"name": "mine"}, "teacher.json: not a teacher description"),
        ([], "teacher.json: not a teacher description"),
        ({**described(), "spec": 3}, "teacher.json: not a teacher description"),
        (described(patchsize=14), "teacher.json: unknown spec fields patchsize"),
        (described(kind="grid"), "teacher.json: .*kind='grid'"),
    ],
)
def test_a_broken_teacher_json_is_named(facts: Any, message: str, edited_folder: Callable[..., Path]) -> None:
    folder = edited_folder("dinov2", "config.json", lambda values: None)
    (folder / "teacher.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match=message):
        load_teacher(str(folder))


def test_the_weights_hash_sees_names_shapes_types_and_values_but_not_order() -> None:
    state = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}
    assert hash_weights(state) == hash_weights(dict(reversed(state.items())))
    for other in (
        {"a": torch.tensor([1.0, 2.5]), "b": torch.tensor(3)},
        {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor(3)},
        {"a": torch.tensor([1.0, 2.0]).view(torch.int32), "b": torch.tensor(3)},
        {"a": torch.tensor([1.0, 2.0]), "c": torch.tensor(3)},
    ):
        assert hash_weights(other) != hash_weights(state)
    # a transposed view hashes like its contiguous copy
    square = torch.arange(4.0).view(2, 2).T
    assert hash_weights({"a": square}) == hash_weights({"a": square.contiguous()})

"""Students that begin with weights from a Hub."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from modeling_zen import ZenConfig, ZenImageProcessor, ZenModel
from tests.hub_server import HubServer, Repository
from training.errors import UserError
from training.student import StudentConfig, build_student


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """org/zen with two commits of other weights; the first is v1."""
    repository = Repository("model", "org/zen")
    for number, branch in enumerate(("v1", "main")):
        torch.manual_seed(number)
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        ZenModel(ZenConfig(**sizes, image_size=32)).save_pretrained(tmp_path / branch)
        ZenImageProcessor(image_mean=[0.1, 0.2, 0.3]).save_pretrained(tmp_path / branch)
        repository.commit_folder(tmp_path / branch, branch)
    with HubServer() as server:
        server.repositories["model", "org/zen"] = repository
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "ENDPOINT", server.address)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield repository


def test_a_zen_from_the_hub(repository: Repository, tmp_path: Path) -> None:
    for revision, folder in ((None, "main"), ("v1", "v1"), (repository.branches["v1"], "v1")):
        config = StudentConfig(image_size=32, init="org/zen", init_revision=revision)
        model, processor = build_student(config)
        expected = ZenModel.from_pretrained(tmp_path / folder).state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
        assert list(processor.image_mean) == [0.1, 0.2, 0.3]


def test_what_the_hub_does_not_have(repository: Repository) -> None:
    for source, revision, message in (
        ("org/zan", None, "there is no folder and no public Hub model called 'org/zan'"),
        ("org/zen", "v9", "org/zen has no revision 'v9'"),
    ):
        with pytest.raises(UserError, match=rf"^student\.init='{source}': {message}"):
            build_student(StudentConfig(image_size=32, init=source, init_revision=revision))

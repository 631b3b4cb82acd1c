import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from evaluation.backbones import PEERS
from evaluation.backbones.peers import load_peer
from training.errors import UserError

CPU = torch.device("cpu")
DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "backbones.md"


@pytest.mark.parametrize("name", PEERS.names())
def test_every_peer_states_what_a_user_must_know(name: str) -> None:
    peer = PEERS.get(name)
    assert peer.name == name
    for text in (peer.architecture, peer.paper, peer.code_licence, peer.weights_licence, peer.pretrained_on):
        assert text
    assert peer.preprocessing_source
    assert f"| `{name}` |" in DOCUMENT.read_text(encoding="utf-8")
    assert re.fullmatch(r"[\w-]+/[\w.-]+/[\w.-]+\.(pth|pt|bin)", peer.source) if peer.on_hub else "://" in peer.source
    assert peer.preprocessing.size is not None
    assert "=" not in name


def test_unknown_peer() -> None:
    with pytest.raises(UserError, match=r"unknown peer 'endovits'\. Did you mean 'endovit'\? Known: endo_fm, "):
        load_peer("endovits", None, CPU)


def test_peer_that_is_not_on_the_hub() -> None:
    message = r"weights of peer 'gsvit' are not on the Hub; get the file from https://\S+ and name it as gsvit=/path"
    with pytest.raises(UserError, match=message):
        load_peer("gsvit", None, CPU)


def test_missing_file() -> None:
    with pytest.raises(UserError, match=r"peer 'lemonfm': /no/such/file.pth is neither a file"):
        load_peer("lemonfm", "/no/such/file.pth", CPU)


def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("cache")))
    with pytest.raises(UserError, match="peer 'lemonfm': visurg/LemonFM is not in the local cache, and HF_HUB_OFFLINE"):
        load_peer("lemonfm", None, CPU)

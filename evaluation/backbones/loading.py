"""From what the user names to a backbone: a ZEN, a peer or any other vision model."""

import difflib
import json
from pathlib import Path

import torch
from httpx2 import HTTPError
from transformers import PreTrainedConfig

from evaluation.backbones.backbone import NetworkBackbone, Role
from evaluation.backbones.peers import PEERS, load_peer
from evaluation.backbones.teacher import TeacherBackbone
from evaluation.backbones.zen import MODEL_TYPE, load_zen, pinned
from training.errors import UserError
from training.hub_access import HubSource, split_revision
from training.registry import unknown_name
from training.teachers import TEACHERS


def load_backbone(name: str, role: Role, device: torch.device) -> NetworkBackbone:
    """The model called `name`.

    Args:
        name: a folder or Hub id of a ZEN or of any model that can be a teacher, the name of a teacher or of a peer, or
            `peer=/path/to/weights` for a peer whose file lies on this machine. A folder goes before names. All but
            files and folders may end in `@REVISION`: a commit, tag or branch.
        role: in result records.
        device: where to compute.

    Raises:
        UserError: there is no such model, its files are damaged or not what they should be, or it gives no dense
            tokens.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return load_zen(str(folder), device, role) if _is_zen_folder(folder) else TeacherBackbone(name, device, role)
    peer, equals, file = name.partition("=")
    if equals:
        return load_peer(peer, str(Path(file).expanduser()), device, role)
    plain, revision = split_revision(name)
    if plain in PEERS:
        return load_peer(plain, None, device, role, revision)
    if plain in TEACHERS.names():
        return TeacherBackbone(name, device, role)
    if name.startswith((".", "/", "~")) or plain.count("/") > 1:
        raise UserError(f"model folder {name!r} does not exist")
    if "/" not in plain:
        raise unknown_name("model", plain, sorted({*TEACHERS.names(), *PEERS.names()}))
    if peers := [each for each in PEERS.names() if PEERS.get(each).on_hub and PEERS.get(each).repo == plain]:
        raise UserError(f"model {plain!r} holds peers, which are called by their names: {', '.join(peers)}")
    try:
        source = pinned(name)
    except UserError as error:
        raise UserError(f"{error}{_hint(plain)}") from error
    pin = f"{plain}@{source.revision}"
    return load_zen(pin, device, role) if _is_zen_repository(source) else TeacherBackbone(pin, device, role)


def _hint(repo: str) -> str:
    """The known model whose Hub id or name is nearest to an id that could not be had; empty if none is near."""
    teachers = {TEACHERS.get(name).repo: TEACHERS.get(name).repo for name in TEACHERS.names()}
    if repo in teachers:
        return ""
    peers = {PEERS.get(name).repo: name for name in PEERS.names() if PEERS.get(name).on_hub}
    known = {id.lower(): name for id, name in (teachers | peers).items()}
    near = difflib.get_close_matches(repo.lower(), known, n=1, cutoff=0.8)
    if near:
        return f". Did you mean {known[near[0]]!r}?"
    near = difflib.get_close_matches(repo.rpartition("/")[2].lower(), PEERS.names(), n=1, cutoff=0.8)
    return f". Did you mean the peer {near[0]!r}?" if near else ""


def _is_zen_folder(folder: Path) -> bool:
    file = folder / "config.json"
    if not file.is_file():
        return False  # whoever loads it says what is missing
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: not JSON ({error})") from error
    return isinstance(config, dict) and config.get("model_type") == MODEL_TYPE


def _is_zen_repository(source: HubSource) -> bool:
    try:
        config, _ = PreTrainedConfig.get_config_dict(source.repo, revision=source.revision)
    except (OSError, HTTPError):
        return False  # gated, without a config, or cut off: the loading of teachers says which
    return bool(config.get("model_type") == MODEL_TYPE)

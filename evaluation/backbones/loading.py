"""From what the user names to a backbone: a ZEN, a peer or any other vision model."""

import json
from pathlib import Path

import torch
from transformers import PreTrainedConfig

from evaluation.backbones.backbone import NetworkBackbone, Role
from evaluation.backbones.peers import PEERS, load_peer
from evaluation.backbones.teacher import TeacherBackbone
from evaluation.backbones.zen import MODEL_TYPE, load_zen
from training.errors import UserError
from training.registry import unknown_name
from training.teachers import TEACHERS


def load_backbone(name: str, role: Role, device: torch.device) -> NetworkBackbone:
    """The model called `name`.

    Args:
        name: a folder or Hub id of a ZEN or of any model that can be a teacher, the name of a teacher or of a peer, or
            `peer=/path/to/weights` for a peer whose file lies on this machine. A folder goes before names.
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
    if name in PEERS:
        return load_peer(name, None, device, role)
    if name in TEACHERS.names():
        return TeacherBackbone(name, device, role)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise UserError(f"model folder {name!r} does not exist")
    if "/" not in name:
        raise unknown_name("model", name, sorted({*TEACHERS.names(), *PEERS.names()}))
    return load_zen(name, device, role) if _is_zen_repository(name) else TeacherBackbone(name, device, role)


def _is_zen_folder(folder: Path) -> bool:
    file = folder / "config.json"
    if not file.is_file():
        return False  # whoever loads it says what is missing
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: not JSON ({error})") from error
    return isinstance(config, dict) and config.get("model_type") == MODEL_TYPE


def _is_zen_repository(name: str) -> bool:
    try:
        config, _ = PreTrainedConfig.get_config_dict(name)
    except OSError:
        return False  # gated, unknown or out of reach: the loading of teachers says which
    return bool(config.get("model_type") == MODEL_TYPE)

"""A teacher's files brought into the Hub's cache, from which machines without internet load it."""

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download

from training.errors import UserError
from training.hub_access import resolve_commit
from training.teachers.checkpoint import explained, find_checkpoint, hub_source

# What a model is loaded from; repositories often hold the same weights once more, for other libraries.
_DESCRIPTIONS = ["*.json", "*.py"]
_WEIGHTS = ("*.safetensors", "*.bin")  # the first kind that a repository has
_FOLDERS = ["*/*"]


@dataclass(frozen=True)
class FetchedTeacher:
    """What now lies in the cache."""

    repo: str
    commit: str
    num_bytes: int
    licence: str


def fetch_teacher(name_and_revision: str) -> FetchedTeacher:
    """Download what `load_teacher` reads, all of one commit; what is in the cache already is not loaded again.

    Args:
        name_and_revision: registry name or Hub id, and after an @ the commit, tag or branch; without one the
            registry's, or else the newest.

    Raises:
        UserError: a folder or an unknown name, a repository that is gated, absent or out of reach, a revision that it
            does not have, or one without a model in it.
    """
    checkpoint = find_checkpoint(name_and_revision, revision=None, trust_remote_code=False)
    name = checkpoint.name
    if checkpoint.is_folder:
        raise UserError(f"teacher {name_and_revision!r} is a folder on this machine, so there is nothing to fetch")
    with explained(checkpoint, "files"):
        commit = resolve_commit(hub_source(name, checkpoint.path, checkpoint.revision))
        for kind in _WEIGHTS:
            patterns = [*_DESCRIPTIONS, kind]
            folder = Path(
                snapshot_download(checkpoint.path, revision=commit, allow_patterns=patterns, ignore_patterns=_FOLDERS)
            )
            if any(folder.glob(kind)):
                break
    lacking = [] if (folder / "config.json").is_file() else ["config.json"]
    lacking += [] if any(next(folder.glob(kind), None) for kind in _WEIGHTS) else ["weights (*.safetensors or *.bin)"]
    if lacking:
        raise UserError(f"teacher {name!r}: {checkpoint.path} at {commit} has no {' and no '.join(lacking)}")
    return FetchedTeacher(
        repo=checkpoint.path,
        commit=commit,
        num_bytes=sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
        licence=checkpoint.licence,
    )

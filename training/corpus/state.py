"""What the journal of a corpus holds, read back: the settings that must not change, and all that was committed."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from training.corpus.manifest import DROPS_FILE, Clip, Drop, read_clips, read_drops
from training.corpus.masks import MASKS_FILE, Mask, read_masks
from training.corpus.settings import CurationSettings
from training.corpus.staged import FileRecord
from training.corpus.withdrawn import REMOVALS_FILE, Removal, read_removals
from training.errors import UserError

T = TypeVar("T")

SETTINGS_FILE = "settings.json"  # in the journal, as are the folders of the commits
CLIPS_FILE, FILES_FILE = "clips.parquet", "files.parquet"  # in such a folder


@dataclass
class State:
    """Everything committed so far."""

    files: dict[tuple[str, str], FileRecord] = field(default_factory=dict)  # by SourceFile.key
    clips: list[Clip] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    masks: dict[str, Mask] = field(default_factory=dict)  # by mask_id
    removals: list[Removal] = field(default_factory=list)
    commits: int = 0

    def add(
        self, files: Iterable[FileRecord], clips: Iterable[Clip], drops: Iterable[Drop], masks: Iterable[Mask]
    ) -> None:
        """Take in one commit."""
        files = list(files)
        void = {(file.input, file.path) for file in files if file.replaced}
        if void:
            self.drops = [drop for drop in self.drops if (drop.input, drop.path) not in void]
        self.files.update({(file.input, file.path): file for file in files})
        self.clips.extend(clips)
        self.drops.extend(drops)
        self.masks.update({mask.mask_id: mask for mask in masks})
        self.commits += 1


def commit_folders(root: Path) -> list[Path]:
    """The folders of all commits in the journal folder `root`, in order."""
    found = (path for path in root.iterdir() if re.fullmatch(r"\d{5,}", path.name))
    return sorted(found, key=lambda path: int(path.name))


def read_state(root: Path) -> State:
    """Everything that the journal folder `root` has committed. A removal stands for all commits before it.

    Raises:
        UserError: a table of a commit is missing, damaged, or has columns that this version does not know.
    """
    state = State()
    folders = commit_folders(root)
    first = max((number for number, folder in enumerate(folders) if (folder / REMOVALS_FILE).exists()), default=0)
    for folder in folders[first:]:
        state.commits = int(folder.name)
        state.add(
            _read(folder / FILES_FILE, _read_files),
            _read(folder / CLIPS_FILE, read_clips),
            _read(folder / DROPS_FILE, read_drops),
            _read(folder / MASKS_FILE, read_masks),
        )
    if folders and (folders[first] / REMOVALS_FILE).exists():
        state.removals = _read(folders[first] / REMOVALS_FILE, read_removals)
    return state


def kept_settings(out: Path) -> dict[str, Any]:
    """The settings that the corpus `out` must keep, by dotted key, and the mark of its salt under "salt".

    Raises:
        UserError: its journal/settings.json is damaged.
    """
    path = out / "journal" / SETTINGS_FILE
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")).items())
    except (ValueError, AttributeError) as error:
        raise UserError(f"{str(path)!r} is damaged: restore it from a copy, or curate into another OUT") from error


def read_settings(out: Path) -> tuple[CurationSettings, str]:
    """The settings that the corpus must keep (labels and the like as by default), and the mark of its salt.

    Raises:
        UserError: OUT is no corpus, its settings are damaged, or this version does not know them.
    """
    path = out / "journal" / SETTINGS_FILE
    if not path.is_file():
        raise UserError(f"{str(out)!r} is no corpus (no journal/settings.json): give the OUT of a training.curate run")
    facts = kept_settings(out)
    mark = facts.pop("salt", "")
    nested = OmegaConf.create()
    for key, value in facts.items():
        OmegaConf.update(nested, key, value)
    try:
        return cast(CurationSettings, OmegaConf.to_object(OmegaConf.merge(CurationSettings, nested))), mark
    except OmegaConfBaseException as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{str(path)!r} is of another version of this package ({first}): use that version") from error


def _read_files(path: Path) -> list[FileRecord]:
    return [FileRecord(**row) for row in pq.read_table(path).to_pylist()]


def _read(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise UserError(
            f"{str(path)!r} cannot be read ({type(error).__name__}): restore it from a copy, or use the version of "
            "this package that wrote it"
        ) from error

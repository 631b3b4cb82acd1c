"""The folder of one pretraining run: its settings, its log, and what a resumed run must agree with."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from training.config import save_config, to_plain
from training.corpus.storage import Storage
from training.errors import UserError
from training.hub_access import split_revision

# Settings that may differ when a run continues: they change neither the weights at a given step nor what they mean.
# max_steps only stops the run; where the schedule hangs on it, `schedule_steps` tells the difference.
FREE_SETTINGS = ("output_dir", "log", "data.workers", "max_steps", "distillation.park_teachers", "cache")


def write_atomic(path: Path, text: str) -> None:
    """Write a text file so that a kill leaves the old content or the new one, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented, atomically."""
    write_atomic(path, json.dumps(value, indent=2, sort_keys=False) + "\n")


class RunFolder:
    """`output_dir` of a run. Opening it checks and changes nothing; `begin` writes."""

    def __init__(self, path: Path, resuming: bool) -> None:
        self.path = path
        self.resuming = resuming
        self.checkpoints = path / "checkpoints"
        self.hub = path / "hub"
        self.log_file = path / "log.jsonl"

    @classmethod
    def open(cls, config: Any) -> "RunFolder":
        """Open for a new run or to continue the one inside.

        Raises:
            UserError: the folder holds something that is no run, or a run with other settings (listed as old -> new).
        """
        path = Path(config.output_dir)
        if path.exists() and not path.is_dir():
            raise UserError(f"output_dir {str(path)!r} is a file")
        if not path.exists() or not any(path.iterdir()):
            return cls(path, resuming=False)
        stored = path / "config.yaml"
        if not stored.is_file():
            raise UserError(
                f"output_dir {str(path)!r} is not empty and holds no run (no config.yaml); choose another folder"
            )
        old = yaml.safe_load(stored.read_text(encoding="utf-8"))
        # Through JSON, so that tuples and lists compare equal.
        new = plain_json(to_plain(config))
        # Without an explicit schedule_steps the schedule spans max_steps: then max_steps is part of what is learned.
        for settings in (old, new):
            settings["optimizer"]["schedule_steps"] = settings["optimizer"]["schedule_steps"] or settings["max_steps"]
        refuse_changes(f"output_dir {str(path)!r} holds a run with other settings", old, new)
        return cls(path, resuming=True)

    def begin(self, config: Any, facts: dict[str, Any], write: bool = True) -> None:
        """Write settings and facts (`teachers.json`, `corpus.json`); a resumed run must find the same facts.

        Every process of a run calls it, so that all of them stop where the facts differ; one of them writes.
        """
        if self.resuming:
            for name, value in facts.items():
                old = json.loads((self.path / name).read_text(encoding="utf-8"))
                refuse_changes(f"the run in {str(self.path)!r} began with another {name}", old, plain_json(value))
        if not write:
            return
        self.path.mkdir(parents=True, exist_ok=True)
        for name, value in facts.items():
            write_json(self.path / name, value)
        save_config(config, self.path / "config.yaml.tmp")
        (self.path / "config.yaml.tmp").replace(self.path / "config.yaml")

    def as_begun(self, config: Any) -> Any:
        """`config` with teachers and corpus at the commits that a resumed run began with, wherever branches are now."""
        if not self.resuming:
            return config
        teachers = dict(config.teachers)
        for row in self._recorded("teachers.json", []):
            if row["revision"] is not None and row["key"] in teachers:
                setting = teachers[row["key"]]
                repo = split_revision(setting.repo)[0]
                teachers[row["key"]] = replace(setting, repo=repo, revision=row["revision"])
        config = replace(config, teachers=teachers)
        commit = self._recorded("corpus.json", {}).get("revision")
        if commit is None:
            return config
        corpus = Storage.at(config.data.corpus).at_commit(commit).root
        return replace(config, data=replace(config.data, corpus=corpus))

    def _recorded(self, name: str, absent: Any) -> Any:
        """Facts that a run began with; of one that did not get so far `absent`."""
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else absent

    def append_log(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows to log.jsonl, one JSON object a line."""
        with self.log_file.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))

    def rewind_log(self, step: int) -> None:
        """Forget rows after `step`: a resumed run writes them again."""
        if self.log_file.exists():
            lines = self.log_file.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _logged_step(line) <= step]
            write_atomic(self.log_file, "".join(line + "\n" for line in kept))

    def logged(self, step: int, split: str) -> list[dict[str, Any]]:
        """The log's agreement rows of one step and split."""
        rows = [json.loads(line) for line in self.log_file.read_text(encoding="utf-8").splitlines()]
        return [row for row in rows if row["step"] == step and row["split"] == split and "teacher" in row]


def _logged_step(line: str) -> float:
    """Step of a log line; a line cut off by a kill counts as never written."""
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return float("inf")


def plain_json(value: Any) -> Any:
    """The value as it would come back from JSON."""
    return json.loads(json.dumps(value))


def refuse_changes(what: str, old: Any, new: Any) -> None:
    """`UserError` that lists every changed entry as key: old -> new, except the free settings."""
    before, after = _flat(old), _flat(new)
    missing = "(absent)"
    changed = [
        f"{key}: {before.get(key, missing)} -> {after.get(key, missing)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, missing) != after.get(key, missing)
        and not any(key == free or key.startswith(free + ".") for free in FREE_SETTINGS)
    ]
    if changed:
        raise UserError(f"{what}: {'; '.join(changed)}. Repeat the old settings, or choose another output_dir")


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries and lists as dotted keys."""
    if isinstance(value, dict):
        items: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return flat

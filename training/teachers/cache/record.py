"""`cache.json`: what a cache was made from, and the sentence that says how a run differs from that."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.corpus import Corpus
from training.errors import UserError
from training.loader import DataConfig

RECORD_FILE = "cache.json"
SCHEMA_VERSION = 1
_VIEWS = "views.views_per_frame"  # the one entry of which a cache may have more than a run wants


def cache_key(
    corpus: Corpus,
    data: DataConfig,
    seed: int,
    view_sizes: Mapping[int, int],
    teachers: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Everything that the features of a view depend on, JSON-able.

    Args:
        corpus: whose frames they are.
        data: how views are drawn.
        seed: of the run.
        view_sizes: side of the main view in pixels, by that of the student.
        teachers: by name, what `DistillationObjective.cache_facts` says.
    """
    return {
        "corpus": {"fingerprint": corpus.fingerprint, "duplicates_sha256": corpus.duplicates_sha256()},
        "views": {
            "seed": seed,
            "views_per_frame": data.views_per_frame,
            "frames_per_clip": data.frames_per_clip,
            "clip_stride": data.clip_stride,
            "pixels": {str(size): pixels for size, pixels in sorted(view_sizes.items())},
            **asdict(data.views),
        },
        "teachers": {name: dict(facts) for name, facts in teachers.items()},
    }


def read_record(folder: Path) -> dict[str, Any]:
    """`cache.json`.

    Raises:
        UserError: no cache, one of another version, or a broken file.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        raise UserError(f"{str(folder)!r} holds no feature cache (no {RECORD_FILE}): write it with {_COMMAND}")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        version = record["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(path)!r} is damaged ({error}): delete the cache and write it anew") from error
    if version != SCHEMA_VERSION:
        raise UserError(f"{str(path)!r} is of version {version}, this program reads {SCHEMA_VERSION}: write it anew")
    return record


def refuse_differences(folder: Path, what: str, cached: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """`UserError` naming every entry that a run wants and the cache has otherwise, or lacks.

    What the cache has beyond that (views, sizes, teachers) does no harm.
    """
    have, want = _flat(cached), _flat(wanted)
    missing = "(absent)"
    differences = [
        f"{key}: {have.get(key, missing)} in the cache, {value} {what}"
        for key, value in want.items()
        if have.get(key, missing) != value and not (key == _VIEWS and have.get(key, 0) >= value)
    ]
    if differences:
        raise UserError(
            f"feature cache {str(folder)!r} is of other settings: {'; '.join(differences)}. Repeat its settings, or "
            f"write another with {_COMMAND}"
        )


_COMMAND = "accelerate launch -m training.cache_teachers"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as dotted keys; sequences stay whole."""
    if not isinstance(value, Mapping):
        return {prefix: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return flat

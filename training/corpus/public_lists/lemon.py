"""LEMON (formerly Surg-3M): `labels.json` of github.com/visurg-ai/LEMON, 4,194 YouTube ids with procedures.

A list of objects with `youtubeId`, `procedureName` (list), `robotic`, `informative` and more. List and labels are CC BY
4.0; the rights in the videos stay with those who uploaded them, so no licence is stated for the files.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.corpus.public_lists.listed import LISTS, Match, Row, match_videos
from training.errors import UserError


@LISTS.register("lemon")
def match_lemon(path: Path, files: Sequence[str]) -> Match:
    """Match files to labels.json. Entries that LEMON calls not informative count neither as found nor as missing.

    Raises:
        UserError: not LEMON's labels.json.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"list {str(path)!r} cannot be read: {error}") from error
    if not isinstance(records, list):
        raise UserError(f"list {str(path)!r} is not LEMON's labels.json: it must be a list of records")
    entries: dict[str, Row] = {}
    for number, record in enumerate(records):
        where = f"{path.name} record {number}"
        video = _field(record, "youtubeId", str, where)
        names = _field(record, "procedureName", list, where)
        robotic = _field(record, "robotic", bool, where)
        if _field(record, "informative", bool, where):
            entries[video] = {"source": "LEMON", "procedures": names, "robotic": robotic}
    return match_videos(entries, files)


def _field(record: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(record, dict) or not isinstance(record.get(name), kind):
        raise UserError(f"{where}: {name!r} is missing or no {kind.__name__}, as it is in LEMON's labels.json")
    return record[name]

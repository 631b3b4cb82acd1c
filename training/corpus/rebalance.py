"""The sampling weights of a corpus that is there: which settings are in force, and new weights without curating again.

Settings that were chosen for a corpus are remembered in OUT/journal/balance.json, so that a later run of
`training.curate`, whose own `balance` is left at its defaults, weighs the grown corpus in the same way.
"""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from training.config import load_config, to_plain
from training.corpus.atomic import replacing
from training.corpus.balance import BalanceSettings, with_weights
from training.corpus.manifest import (
    CLIP_SCHEMA,
    CURATION_FILE,
    MANIFEST_FILE,
    Clip,
    fingerprint,
    read_clips,
    write_rows,
)
from training.corpus.segments import DUPLICATES_FILE
from training.errors import UserError

BALANCE_FILE = "balance.json"


@dataclass(frozen=True)
class RebalanceSettings:
    """What `python -m training.corpus_balance` can be told."""

    balance: BalanceSettings = field(default_factory=BalanceSettings)


@dataclass(frozen=True)
class Rebalanced:
    """A corpus under its new weights."""

    settings: BalanceSettings
    clips: list[Clip]
    left_out: list[int]  # frames of each clip that are not drawn
    changed: bool


def settle_balance(corpus: Path, wanted: BalanceSettings) -> BalanceSettings:
    """The balance settings in force for a corpus, and from now on.

    Args:
        corpus: its folder; a choice that differs from the defaults is remembered in its journal.
        wanted: of this run; left at the defaults, those that were chosen before stay.
    """
    path = corpus / "journal" / BALANCE_FILE
    if wanted != BalanceSettings():
        _remember(path, wanted)
        return wanted
    if path.is_file():
        return BalanceSettings(**json.loads(path.read_text(encoding="utf-8")))
    return wanted


def count_left_out(corpus: Path, clips: Sequence[Clip]) -> list[int]:
    """Frames of each clip that the loader leaves out as duplicates, by `duplicates.parquet`; 0 where there is none.

    Raises:
        UserError: the file cannot be read.
    """
    path = corpus / DUPLICATES_FILE
    if not path.is_file():
        return [0] * len(clips)
    try:
        table = pq.read_table(path, columns=["clip_id", "position", "representative"])
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{str(path)!r} cannot be read ({type(error).__name__}): find the duplicates of this corpus anew, or "
            "remove the file"
        ) from error
    copies = table.filter(pc.invert(table["representative"])).group_by(["clip_id", "position"]).aggregate([])
    counted = copies.group_by("clip_id").aggregate([("position", "count")])
    counts = dict(zip(counted["clip_id"].to_pylist(), counted["position_count"].to_pylist(), strict=True))
    return [counts.get(clip.clip_id, 0) for clip in clips]


def rebalance(corpus: Path, overrides: list[str]) -> Rebalanced:
    """Give a corpus new weights: manifest and curation.json are rewritten, and the settings remembered.

    Between the two writes the corpus has no curation.json, so a kill leaves one that nobody reads; the same
    `training.curate` command completes it, with the new settings.

    Args:
        corpus: a local folder.
        overrides: words such as `balance.procedure_temperature=0.3`; the rest stays as it is for this corpus.

    Raises:
        UserError: no complete corpus, wrong words, or another process writes to it.
    """
    for name in (CURATION_FILE, MANIFEST_FILE):
        if not (corpus / name).is_file():
            raise UserError(
                f"corpus {str(corpus)!r} has no {name}: give the folder of a corpus; an interrupted one is completed "
                "by the same python -m training.curate command"
            )
    with _alone(corpus):
        facts: dict[str, Any] = json.loads((corpus / CURATION_FILE).read_text(encoding="utf-8"))
        before = facts["settings"].get("balance", {})
        words = [f"balance.{name}={value}" for name, value in before.items()]
        settings = load_config(RebalanceSettings, None, [*words, *overrides]).balance
        old = read_clips(corpus / MANIFEST_FILE)
        left_out = count_left_out(corpus, old)
        clips = with_weights(old, left_out, settings)
        if (corpus / "journal").is_dir():  # a downloaded corpus has none
            _remember(corpus / "journal" / BALANCE_FILE, settings)
        facts["settings"]["balance"] = to_plain(settings)
        facts["fingerprint"] = fingerprint(clips)
        text = json.dumps(facts, indent=1)
        changed = text != (corpus / CURATION_FILE).read_text(encoding="utf-8")
        if changed:
            (corpus / CURATION_FILE).unlink()  # until it is back, the corpus counts as incomplete
            write_rows(clips, CLIP_SCHEMA, corpus / MANIFEST_FILE)
            with replacing(corpus / CURATION_FILE) as temporary:
                temporary.write_text(text, encoding="utf-8")
    return Rebalanced(settings, clips, left_out, changed)


def balance_table(result: Rebalanced) -> str:
    """Frames of the train split per procedure and source as stored and as expected per epoch, as a table to print."""
    stored: dict[tuple[str, str], float] = {}
    drawn: dict[tuple[str, str], float] = {}
    for clip, left_out in zip(result.clips, result.left_out, strict=True):
        if clip.split != "train":
            continue
        frames, procedures = clip.num_frames - left_out, sorted(set(clip.procedures)) or ["unknown"]
        parts = [(("procedure", name), 1 / len(procedures)) for name in procedures]
        for key, part in [*parts, (("source", clip.source), 1.0)]:
            stored[key] = stored.get(key, 0.0) + frames * part
            drawn[key] = drawn.get(key, 0.0) + frames * part * clip.weight
    lines = [f"{'':<44}{'frames':>12}{'per epoch':>12}"]
    lines += [f"{kind + ' ' + name:<44}{stored[kind, name]:>12.0f}{drawn[kind, name]:>12.0f}" for kind, name in stored]
    return "\n".join([lines[0], *sorted(lines[1:])])


def _remember(path: Path, settings: BalanceSettings) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(to_plain(settings), indent=1), encoding="utf-8")


@contextmanager
def _alone(corpus: Path) -> Iterator[None]:
    """Keep curations out of the corpus meanwhile. Raises `UserError` when one is at work."""
    if not (corpus / "journal").is_dir():
        yield
        return
    with (corpus / "journal" / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"a curation is writing to {str(corpus)!r}: wait for it to end") from error
        yield

"""Deduplication of a corpus: what it shows of evaluation data, then its near-duplicates across videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.config import to_plain
from training.corpus.duplicates.clusters import Choice, choose
from training.corpus.duplicates.embedding_search import similar_pairs
from training.corpus.duplicates.evaluation_frames import (
    find_seen,
    input_of,
    inputs_by_path,
    remember,
)
from training.corpus.duplicates.frame_table import FrameTable, read_frames
from training.corpus.duplicates.neighbors import HashNeighbors, PairNeighbors
from training.corpus.duplicates.seen import SeenCase, read_seen, write_seen
from training.corpus.duplicates.settings import DeduplicationSettings
from training.corpus.duplicates.table import duplicate_table, is_readable, write_duplicates
from training.corpus.journal import Journal
from training.corpus.manifest import CURATION_FILE, MANIFEST_FILE, read_clips
from training.corpus.publication import last_record, publish
from training.corpus.segments import DUPLICATES_FILE
from training.corpus.state import State, read_settings
from training.errors import UserError, full_disk_error


@dataclass(frozen=True)
class Deduplicated:
    """What a run found."""

    summary: dict[str, Any]  # as in curation.json
    seen: list[SeenCase]
    fingerprint: str


def deduplicate(
    corpus: Path, settings: DeduplicationSettings, *, embedding: str | None = None, against: Sequence[Path] = ()
) -> Deduplicated:
    """Find the near-duplicates of a corpus; duplicates.parquet and the other tables beside the shards are rewritten.

    The same corpus and settings give the same bytes (with `embedding`: on one machine with one number of threads, on
    which sums of floats depend); a grown corpus is searched anew as a whole.

    Args:
        corpus: its folder, made by `training.curate`.
        settings: of the search.
        embedding: an AutoModel (Hub repository or folder) for a second search among what the hashes leave.
        against: folders of evaluation data, compared from now on with everything in the corpus.

    Raises:
        UserError: no complete corpus, nothing usable in a folder of `against`, a model that cannot be loaded, clips of
            evaluation data only, or no space left.
    """
    curation, mark = read_settings(corpus)
    no_space = f"no space left for the corpus {str(corpus)!r}: free some and run the same command again"
    with full_disk_error(no_space), Journal(corpus, curation, mark) as journal:
        facts = last_record(corpus)
        if facts is None or not (corpus / MANIFEST_FILE).is_file():
            name = CURATION_FILE if facts is None else MANIFEST_FILE
            raise UserError(
                f"corpus {str(corpus)!r} has no readable {name}: complete it with python -m training.curate first"
            )
        remembered = remember(corpus, against, curation, settings.against_fps)
        seen = _seen(corpus, read_frames(corpus, journal.state.clips), journal.state, settings)
        if len({row.clip_id for row in seen if row.dropped}) == len(journal.state.clips):
            for path in remembered:  # else every later run would meet them again
                path.unlink()
            raise UserError(
                f"every clip of {str(corpus)!r} shows evaluation data, so dropping them leaves nothing: use "
                "benchmark_clips=flag, or another corpus"
            )
        is_news = seen != read_seen(corpus)
        if is_news or not is_readable(corpus):
            # The clusters may name clips that leave the manifest, and none is better than wrong ones.
            (corpus / DUPLICATES_FILE).unlink(missing_ok=True)
            write_seen(seen, corpus)
        # Also when nothing is new: a run that was killed may have left the old manifest.
        publish(journal.state, corpus, curation, force=is_news, like=facts)
        summary = _search(corpus, settings, embedding)
        _, print_ = publish(journal.state, corpus, curation, force=False, like=facts)
    return Deduplicated(summary, seen, print_)


def _search(corpus: Path, settings: DeduplicationSettings, embedding: str | None) -> dict[str, Any]:
    """Write duplicates.parquet; returns its summary."""
    frames = read_frames(corpus, read_clips(corpus / MANIFEST_FILE))
    choice = Choice.nothing(len(frames))
    choose(choice, HashNeighbors(frames, settings.max_distance, settings.min_correlation), frames.held_out)
    print_ = ""
    if embedding is not None:
        pairs, print_ = _similar(frames, choice, settings, embedding)
        choose(choice, PairNeighbors("embedding", len(frames), pairs), frames.held_out)
    table = duplicate_table(frames, choice)
    left_out = choice.favored >= 0
    summary = {
        "settings": to_plain(settings),
        "embedding": print_,  # fingerprint of the model; "" without
        "clips": len(frames.clips),
        "frames": len(frames),
        "clusters": len(table) - int(left_out.sum()),
        "left_out": {
            method: {
                "train": int((left_out & (choice.method == number) & ~frames.held_out).sum()),
                "held_out": int((left_out & (choice.method == number) & frames.held_out).sum()),
            }
            for number, method in enumerate(choice.methods)
        },
        # Train frames left out in favor of a held-out one: the same picture on both sides of the split.
        "across_splits": int((left_out & ~frames.held_out & frames.held_out[choice.representatives()]).sum()),
    }
    write_duplicates(table, summary, corpus)
    return summary


def _similar(
    frames: FrameTable, choice: Choice, settings: DeduplicationSettings, name: str
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], str]:
    """Pairs of frames with similar embeddings, with 1 - cosine, and the fingerprint of the model."""
    from training.corpus.duplicates.embeddings import Embedder, embed_corpus  # takes seconds to import

    embedder = Embedder(name, settings.batch_size)
    # All held-out frames, kept or not, so that no train frame like one of them stays.
    searched = np.flatnonzero((choice.favored < 0) | frames.held_out)
    embeddings = embed_corpus(frames, embedder)[searched]
    first, second, cosine = similar_pairs(embeddings, frames.video[searched], settings.min_cosine)
    return (searched[first], searched[second], 1 - cosine), embedder.fingerprint


def _seen(corpus: Path, frames: FrameTable, state: State, settings: DeduplicationSettings) -> list[SeenCase]:
    dropped = settings.benchmark_clips == "drop"
    files = inputs_by_path(state.files.values())
    rows = []
    for number, matches in find_seen(corpus, frames, settings).items():
        clip = frames.clips[number]
        for match in matches:
            distances = float(match.distance), float(settings.max_distance)
            rows.append(SeenCase(clip.clip_id, input_of(clip, files), match.case, match.frames, *distances, dropped))
    return rows

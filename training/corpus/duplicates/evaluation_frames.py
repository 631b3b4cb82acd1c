"""Hashes and thumbnails of evaluation data, made as curation makes those of a corpus, and remembered in the journal.

    OUT/journal/evaluation/<name of the folder>.parquet    one row per frame; it stays when the folder is gone

So a corpus that grows is compared again with everything that it was ever compared with.
"""

import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from training.corpus.atomic import replacing
from training.corpus.decoder_process import DecoderProcess
from training.corpus.duplicates.frame_table import FrameTable, read_thumbnails, thumbnail_of
from training.corpus.duplicates.hash_search import near_known
from training.corpus.duplicates.likeness import correlations
from training.corpus.duplicates.settings import DeduplicationSettings
from training.corpus.filters.picture import THUMBNAIL
from training.corpus.manifest import Clip
from training.corpus.overlaps import known_overlaps
from training.corpus.settings import CurationSettings, fixed_settings
from training.corpus.sources import Unit, check_places, group, scan
from training.corpus.staged import load_unit, staged_images
from training.corpus.unit import curate_unit
from training.errors import UserError

FOLDER = "evaluation"
KEPT_FILTERS = ("black", "white")  # such frames resemble each other; all others are compared
_SCHEMA = pa.schema([("case", pa.string()), ("phash", pa.uint64()), ("thumbnail", pa.binary(THUMBNAIL**2))])
_LISTING = b"listing"


@dataclass(frozen=True)
class Match:
    """A clip with frames that duplicate frames of an evaluation case."""

    case: str
    frames: int  # of the clip
    distance: int  # bits, of the nearest pair


def remember(corpus: Path, inputs: Sequence[Path], settings: CurationSettings, fps: float) -> None:
    """Hash the frames of evaluation folders, unless they are remembered under the same settings and unchanged.

    Raises:
        UserError: a folder is missing, or holds no usable frame.
    """
    for root in check_places(inputs, corpus):
        found = scan([root], corpus)
        files = sorted((file.path, file.size, file.mtime_ns) for file in [*found.videos, *found.stills])
        units = group(found.videos, found.stills, settings)
        if not units:
            raise UserError(f"no video or image in {str(root)!r}: give folders with the frames of evaluation data")
        name = units[0].files[0].input
        facts = [files, fps, fixed_settings(settings)]
        listing = hashlib.sha256(json.dumps(facts, default=list).encode()).hexdigest().encode()
        path = corpus / "journal" / FOLDER / f"{name}.parquet"
        if path.is_file() and (pq.read_schema(path).metadata or {}).get(_LISTING) == listing:
            continue
        rows = [row for unit in units for row in _frames_of(unit, settings, fps)]
        if not rows:
            raise UserError(f"no usable frame in {str(root)!r}: give folders with the frames of evaluation data")
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as temporary:
            pq.write_table(
                pa.Table.from_pylist(rows, schema=_SCHEMA).replace_schema_metadata({_LISTING: listing}), temporary
            )


def find_seen(corpus: Path, frames: FrameTable, settings: DeduplicationSettings) -> dict[int, list[Match]]:
    """Which clips show remembered evaluation cases: position in `frames.clips` -> matches, sorted by case."""
    tables = [pq.read_table(path) for path in sorted((corpus / "journal" / FOLDER).glob("*.parquet"))]
    if not tables:
        return {}
    known = pa.concat_tables([table.replace_schema_metadata(None) for table in tables])
    hashes, cases = known["phash"].to_numpy(), known["case"].to_pylist()
    known_values, known_value = np.unique(hashes, return_inverse=True)
    values, value = np.unique(frames.phash, return_inverse=True)
    first, second, distance = near_known(values, known_values, settings.max_distance)
    candidates = np.flatnonzero(np.isin(value, first))
    thumbnails = read_thumbnails(frames, candidates)
    ours, theirs = _places(value[candidates]), _places(known_value)
    best: dict[tuple[int, str], int] = {}
    hit: dict[tuple[int, str], set[int]] = defaultdict(set)
    for one, other, bits in zip(first.tolist(), second.tolist(), distance.tolist(), strict=True):
        rows = theirs[other]
        shown = np.stack([np.frombuffer(known["thumbnail"][row].as_py(), np.uint8) for row in rows])
        for place in ours[one]:
            alike = correlations(thumbnails[place], shown.reshape(-1, THUMBNAIL, THUMBNAIL))
            for row in np.flatnonzero(alike >= settings.min_correlation).tolist():
                key = int(frames.clip[candidates[place]]), cases[rows[row]]
                best[key] = min(bits, best.get(key, bits))
                hit[key].add(int(candidates[place]))
    matches: dict[int, list[Match]] = defaultdict(list)
    for clip, case in sorted(best):
        matches[clip].append(Match(case, len(hit[clip, case]), best[clip, case]))
    return matches


def _frames_of(unit: Unit, settings: CurationSettings, fps: float) -> list[dict[str, object]]:
    """One row per frame of a unit."""
    switched = {
        field.name: replace(getattr(settings.filters, field.name), enabled=False)
        for field in fields(settings.filters)
        if field.name not in KEPT_FILTERS
    }
    like_corpus = replace(settings, fps=fps, filters=replace(settings.filters, **switched))
    file = unit.files[0]
    own = unit.case_id.removeprefix(f"{file.input}__").replace("__", "/")
    case = known_overlaps().case(f"{file.input}/{file.path}") or f"{file.input}/{own}"
    with tempfile.TemporaryDirectory() as folder, DecoderProcess(settings.decoding) as decoder:
        place = Path(folder, "unit")
        curate_unit(unit, like_corpus, decoder, place, replaced=False, advance=lambda *_: None)
        return [
            {"case": case, "phash": frame.phash, "thumbnail": thumbnail_of(image).tobytes()}
            for clip in load_unit(place).clips
            for frame, image in zip(clip.frames, staged_images(place, clip), strict=True)
        ]


def _places(values: np.ndarray) -> dict[int, list[int]]:
    places: dict[int, list[int]] = defaultdict(list)
    for place, value in enumerate(values.tolist()):
        places[value].append(place)
    return places


def input_of(clip: Clip, files: dict[tuple[str, str], str]) -> str:
    """The input that a clip's path is relative to.

    Args:
        clip: of a corpus.
        files: (input, path) -> SHA-256 of every file of the journal.
    """
    found = [(digest != clip.sha256, name) for (name, path), digest in files.items() if path == clip.path]
    return min(found)[1] if found else clip.source

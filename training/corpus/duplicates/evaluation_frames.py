"""Hashes and thumbnails of evaluation data, made as curation makes those of a corpus, and remembered in the journal.

    OUT/journal/evaluation/<name>-<digest of its path>.parquet    one row per frame; it stays when the folder is gone

So a corpus that grows is compared again with everything that it was ever compared with.
"""

import hashlib
import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
from training.corpus.staged import FileRecord, load_unit, staged_images
from training.corpus.unit import curate_unit
from training.errors import UserError

FOLDER = "evaluation"
ROWS_AT_ONCE = 1024  # of a unit or more; 1 MB
KEPT_FILTERS = ("black", "white")  # such frames resemble each other; all others are compared
_SCHEMA = pa.schema([("case", pa.string()), ("phash", pa.uint64()), ("thumbnail", pa.binary(THUMBNAIL**2))])
_LISTING = b"listing"


@dataclass(frozen=True)
class Match:
    """A clip with frames that duplicate frames of an evaluation case."""

    case: str
    frames: int  # of the clip
    distance: int  # bits, of the nearest pair


def remember(corpus: Path, inputs: Sequence[Path], settings: CurationSettings, fps: float) -> list[Path]:
    """Hash the frames of evaluation folders, unless they are remembered under the same settings and unchanged.

    Returns:
        The files that were written.

    Raises:
        UserError: a folder is missing, or holds no usable frame.
    """
    written = []
    for root in check_places(inputs, corpus):
        found = scan([root], corpus)
        files = sorted((file.path, file.size, file.mtime_ns) for file in [*found.videos, *found.stills])
        units = group(found.videos, found.stills, settings)
        if not units:
            raise UserError(f"no video or image in {str(root)!r}: give folders with the frames of evaluation data")
        facts = [files, fps, fixed_settings(settings)]
        listing = hashlib.sha256(json.dumps(facts, default=list).encode()).hexdigest().encode()
        path = corpus / "journal" / FOLDER / _file_name(root, units[0].files[0].input)
        if _listing_of(path) == listing:
            continue
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as temporary:
            _write_frames(units, settings, fps, listing, temporary)
            if not pq.read_metadata(temporary).num_rows:
                raise UserError(f"no usable frame in {str(root)!r}: give folders with the frames of evaluation data")
        written.append(path)
    return written


def find_seen(corpus: Path, frames: FrameTable, settings: DeduplicationSettings) -> dict[int, list[Match]]:
    """Which clips show remembered evaluation cases: position in `frames.clips` -> matches, sorted by case.

    Raises:
        UserError: what is remembered of a folder cannot be read.
    """
    paths = sorted((corpus / "journal" / FOLDER).glob("*.parquet"))
    if not paths:
        return {}
    known = pa.concat_tables([_read_remembered(path) for path in paths])
    hashes, cases = known["phash"].to_numpy(), known["case"].to_pylist()
    known_values, known_value = np.unique(hashes, return_inverse=True)
    values, value = np.unique(frames.phash, return_inverse=True)
    first, second, distance = near_known(values, known_values, settings.max_distance)
    candidates, near = (np.flatnonzero(np.isin(own, found)) for own, found in ((value, first), (known_value, second)))
    thumbnails, shown = read_thumbnails(frames, candidates), _remembered_thumbnails(paths, near)
    ours, theirs = _places(value[candidates]), _places(known_value[near])
    best: dict[tuple[int, str], int] = {}
    hit: dict[tuple[int, str], set[int]] = defaultdict(set)
    for one, other, bits in zip(first.tolist(), second.tolist(), distance.tolist(), strict=True):
        rows = theirs[other]
        for place in ours[one]:
            alike = correlations(thumbnails[place], shown[rows])
            for row in np.flatnonzero(alike >= settings.min_correlation).tolist():
                key = int(frames.clip[candidates[place]]), cases[near[rows[row]]]
                best[key] = min(bits, best.get(key, bits))
                hit[key].add(int(candidates[place]))
    matches: dict[int, list[Match]] = defaultdict(list)
    for clip, case in sorted(best):
        matches[clip].append(Match(case, len(hit[clip, case]), best[clip, case]))
    return matches


def _listing_of(path: Path) -> bytes | None:
    """Of which files and settings something is remembered; `None` where nothing is, or nothing that can be read."""
    try:
        return (pq.read_schema(path).metadata or {}).get(_LISTING)
    except (OSError, pa.ArrowException):
        return None


def _read_remembered(path: Path) -> pa.Table:
    """Cases and hashes."""
    try:
        return pq.read_table(path, columns=["case", "phash"]).replace_schema_metadata()
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{str(path)!r} cannot be read ({type(error).__name__}): remove it, and give its folder with --against "
            "again"
        ) from error


def _file_name(root: Path, name: str) -> str:
    """Of what is remembered of a folder. Folders of one name in different places are different ones."""
    return f"{name[:40]}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}.parquet"


def _write_frames(units: Sequence[Unit], settings: CurationSettings, fps: float, listing: bytes, path: Path) -> None:
    """One row per frame of the units."""
    waiting: list[dict[str, object]] = []
    with pq.ParquetWriter(path, _SCHEMA.with_metadata({_LISTING: listing})) as writer:
        for unit in [*units, None]:
            waiting += _frames_of(unit, settings, fps) if unit else []
            if len(waiting) >= ROWS_AT_ONCE or (waiting and unit is None):
                writer.write_table(pa.Table.from_pylist(waiting, schema=_SCHEMA))
                waiting = []


def _frames_of(unit: Unit, settings: CurationSettings, fps: float) -> list[dict[str, object]]:
    """One row per frame of a unit."""
    switched = {
        field.name: replace(getattr(settings.filters, field.name), enabled=False)
        for field in fields(settings.filters)
        if field.name not in KEPT_FILTERS
    }
    like_corpus = replace(settings, fps=fps, filters=replace(settings.filters, **switched))
    case = _case_of(unit, settings)
    with tempfile.TemporaryDirectory() as folder, DecoderProcess(settings.decoding) as decoder:
        place = Path(folder, "unit")
        curate_unit(unit, like_corpus, decoder, place, replaced=False, advance=lambda *_: None)
        return [
            {"case": case, "phash": frame.phash, "thumbnail": thumbnail_of(image, f"a frame of {case}").tobytes()}
            for clip in load_unit(place).clips
            for frame, image in zip(clip.frames, staged_images(place, clip), strict=True)
        ]


def _case_of(unit: Unit, settings: CurationSettings) -> str:
    """The benchmark case that a unit belongs to, as `overlaps.json` calls it, else by folder and case.

    Only the folder is named in a corpus whose own names are hashed: its cases may be called after patients.
    """
    file = unit.files[0]
    if (known := known_overlaps().case(f"{file.input}/{file.path}")) is not None:
        return known
    own = unit.case_id.removeprefix(f"{file.input}__").replace("__", "/")
    return file.input if settings.deidentify else f"{file.input}/{own}"


def _remembered_thumbnails(paths: Sequence[Path], rows: np.ndarray) -> np.ndarray:
    """The thumbnails of some rows, ascending, counted through all files: uint8 (M, 32, 32)."""
    found: list[bytes] = []
    start = 0
    for path in paths:
        with pq.ParquetFile(path) as file:
            for group in range(file.metadata.num_row_groups):
                end = start + file.metadata.row_group(group).num_rows
                wanted = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)] - start
                if len(wanted):
                    column = file.read_row_group(group, columns=["thumbnail"])["thumbnail"]
                    found += column.take(wanted).to_pylist()
                start = end
    return np.frombuffer(b"".join(found), np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)


def _places(values: np.ndarray) -> dict[int, list[int]]:
    places: dict[int, list[int]] = defaultdict(list)
    for place, value in enumerate(values.tolist()):
        places[value].append(place)
    return places


def inputs_by_path(files: Iterable[FileRecord]) -> dict[str, list[FileRecord]]:
    """The source files of a journal by their path."""
    found: dict[str, list[FileRecord]] = defaultdict(list)
    for file in files:
        found[file.path].append(file)
    return found


def input_of(clip: Clip, files: Mapping[str, Sequence[FileRecord]]) -> str:
    """The input that a clip's path is relative to.

    Args:
        clip: of a corpus.
        files: by path, from `inputs_by_path`.
    """
    found = [(file.sha256 != clip.sha256, file.input) for file in files.get(clip.path, ())]
    return min(found)[1] if found else clip.source

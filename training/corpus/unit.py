"""The curation of one unit: decode, crop, score, decide, encode; the outcome waits in a folder of its own.

The folder appears under its final name in one rename, so a unit is either finished or not there. It holds `frames.bin`
(JPEG or WebP images one after the other), `unit.json` (what they are, and what was dropped) and, if it was readable,
`drop_examples.parquet` (see `drop_examples`), and `masks.parquet` (see `masks`).
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from training.corpus.atomic import replacing
from training.corpus.clips import Verdict, cut_clips, drop_spans
from training.corpus.decoder_process import DecoderProcess
from training.corpus.drop_examples import DROP_EXAMPLES_FILE, EXAMPLE_SCHEMA, Dropped, pick_examples
from training.corpus.field_of_view import CropBox
from training.corpus.filtering import FilterPass
from training.corpus.filters import Picture
from training.corpus.frames import (
    FrameStream,
    Missing,
    UnusableSourceError,
    encode_image,
    file_sha256,
    open_frames,
)
from training.corpus.labels import resolve_labels
from training.corpus.looks import Look, Looks
from training.corpus.manifest import Clip, Drop, write_rows
from training.corpus.masks import MASK_SCHEMA, MASKS_FILE, Mask
from training.corpus.overlaps import test_cases_of
from training.corpus.settings import CurationSettings, procedure_names
from training.corpus.sources import Unit, file_drop
from training.corpus.staged import IMAGES_FILE, UNIT_FILE, StagedClip, StagedFrame, StagedUnit, file_record

WORKER_DIED = "worker_died"  # reason in drops.parquet; the files are tried again in the next run
Advance = Callable[[int, float], None]  # told the number of frames and of source bytes just done


@dataclass(frozen=True)
class _Encoded:
    offset: int
    length: int
    width: int
    height: int
    seen: Look
    phash: int
    luma: float
    sharpness: float

    @property
    def look(self) -> tuple[int, int, CropBox]:
        return self.width, self.height, self.seen.box


def curate_unit(
    unit: Unit,
    settings: CurationSettings,
    decoder: DecoderProcess,
    folder: Path,
    *,
    replaced: bool,
    advance: Advance,
) -> None:
    """Curate one unit into `folder`. If another process has made it meanwhile, with the same content, that one stays.

    Clips are numbered from 0 here; the journal counts them through when several units belong to one video.

    Args:
        unit: what to curate.
        settings: of the run.
        decoder: for videos.
        folder: gets `frames.bin` and `unit.json`, all at once.
        replaced: the files had other content in an earlier run.
        advance: called as frames are done.
    """
    staging = _staging(folder)
    hashes, unreadable = _hashes(unit)
    if unit.kind == "video" and unreadable:
        staged = _failed(unit, settings, replaced, hashes, "unreadable", unreadable[0])
        advance(0, unit.size)
    else:
        try:
            stream = open_frames(unit, settings, decoder)
        except UnusableSourceError as error:
            staged = _failed(unit, settings, replaced, hashes, error.reason, str(error))
            advance(0, unit.size)
        else:
            with (staging / IMAGES_FILE).open("wb") as spool:
                encoded, verdicts, breaks = _encode(unit, stream, settings, spool.write, advance)
                spool.flush()
                os.fsync(spool.fileno())
            staged = _stage(unit, stream, settings, encoded, verdicts, breaks, hashes, replaced)
            dropped = _dropped(stream, encoded, verdicts)
            examples = pick_examples(dropped, staging / IMAGES_FILE, unit.video_id, settings.drop_examples)
            write_rows(examples, EXAMPLE_SCHEMA, staging / DROP_EXAMPLES_FILE)
            write_rows(_masks(encoded, verdicts), MASK_SCHEMA, staging / MASKS_FILE)
    _finish(staged, staging, folder)


def give_up_unit(unit: Unit, settings: CurationSettings, folder: Path, *, replaced: bool, detail: str) -> None:
    """Put the outcome "worker_died" of every file into `folder`: no process survives this unit. A still is a frame."""
    lost = 0 if unit.kind == "video" else 1
    files = [file_record(file, settings, unit=unit, frames_sampled=lost, replaced=replaced) for file in unit.files]
    drops = [file_drop(file, unit.video_id, WORKER_DIED, detail, num_frames=lost) for file in unit.files]
    _finish(StagedUnit(files, [], drops), _staging(folder), folder)


def _staging(folder: Path) -> Path:
    """A new folder of this process to fill before it becomes `folder`."""
    staging = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.tmp")
    staging.mkdir(parents=True)
    return staging


def _finish(staged: StagedUnit, staging: Path, folder: Path) -> None:
    with replacing(staging / UNIT_FILE) as temporary:
        temporary.write_text(json.dumps(asdict(staged)), encoding="utf-8")
    try:
        staging.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        shutil.rmtree(staging)


def _hashes(unit: Unit) -> tuple[dict[str, str], list[str]]:
    """SHA-256 per path ("" where the file cannot be read), and the errors met."""
    hashes, errors = {}, []
    for file in unit.files:
        try:
            hashes[file.path] = file_sha256(file.location)
        except OSError as error:
            hashes[file.path] = ""
            errors.append(error.strerror or str(error))
    return hashes, errors


def _failed(
    unit: Unit, settings: CurationSettings, replaced: bool, hashes: dict[str, str], reason: str, detail: str
) -> StagedUnit:
    """The outcome of a video that yields nothing."""
    file = unit.files[0]
    record = file_record(file, settings, unit=unit, sha256=hashes[file.path], replaced=replaced)
    return StagedUnit([record], [], [file_drop(file, unit.video_id, reason, detail)])


def _encode(
    unit: Unit, stream: FrameStream, settings: CurationSettings, write: Callable[[bytes], int], advance: Advance
) -> tuple[list[_Encoded | None], list[Verdict | None], frozenset[int]]:
    """Write the image of every sample; decide which stay (an entry per sample in both lists) and where scenes begin."""
    looks = Looks(unit, stream, settings)
    filters = FilterPass(settings.filters)
    encoded: list[_Encoded | None] = []
    missing: list[Verdict | None] = []
    offset = 0
    for position, frame in enumerate(stream.frames()):
        sample = stream.samples[position]
        advance(1, sample.file.size / (len(stream.samples) if unit.kind == "video" else 1))
        if isinstance(frame, Missing):
            filters.add(None)
            encoded.append(None)
            missing.append(Verdict(frame.reason, detail=frame.detail))
            continue
        look = looks.of(frame)
        stored = look.store(frame)
        picture = Picture(stored, sample.timestamp)
        filters.add(picture)
        image = encode_image(stored, settings.image_format, settings.image_quality)
        write(image)
        facts = (picture.phash, picture.luma, picture.sharpness)
        encoded.append(_Encoded(offset, len(image), stored.shape[1], stored.shape[0], look, *facts))
        missing.append(None)
        offset += len(image)
    times = [sample.timestamp for sample in stream.samples]
    verdicts = filters.verdicts(times, missing)
    return encoded, verdicts, filters.breaks(times, verdicts)


def _masks(encoded: list[_Encoded | None], verdicts: list[Verdict | None]) -> list[Mask]:
    """The masks of the kept frames, each once."""
    kept = [item.seen.mask for item, verdict in zip(encoded, verdicts, strict=True) if item and verdict is None]
    return list({mask.mask_id: mask for mask in kept if mask}.values())


def _stage(
    unit: Unit,
    stream: FrameStream,
    settings: CurationSettings,
    encoded: list[_Encoded | None],
    verdicts: list[Verdict | None],
    breaks: frozenset[int],
    hashes: dict[str, str],
    replaced: bool,
) -> StagedUnit:
    """Cut clips, collect drops, count."""
    looks = [item.look if item else None for item in encoded]
    clips = []
    for number, positions in enumerate(cut_clips(stream.samples, verdicts, looks, settings.clip_frames, breaks)):
        frames = [(item, stream.samples[position]) for position in positions if (item := encoded[position])]
        rows = [
            StagedFrame(
                item.offset,
                item.length,
                sample.frame_index,
                sample.timestamp,
                item.phash,
                item.luma,
                item.sharpness,
            )
            for item, sample in frames
        ]
        clips.append(StagedClip(_clip(unit, stream, settings, positions, frames[0][0], hashes, number), rows))
    drops = drop_spans(stream.samples, verdicts, unit.video_id)
    kept, sampled = dict.fromkeys(hashes, 0), dict.fromkeys(hashes, 0)
    overlays = {
        sample.file.path: item.seen.overlay for sample, item in zip(stream.samples, encoded, strict=True) if item
    }
    for sample, verdict in zip(stream.samples, verdicts, strict=True):
        sampled[sample.file.path] += 1
        kept[sample.file.path] += verdict is None
    if stream.lost is not None:
        file, lost = unit.files[0], stream.lost
        span = (lost.t_start, lost.t_end, lost.num_frames)
        drops.append(Drop(file.input, file.path, unit.video_id, *span, "truncated", None, None, lost.detail))
        sampled[file.path] += lost.num_frames
    files = [
        file_record(
            file,
            settings,
            unit=unit,
            sha256=hashes[file.path],
            frames_sampled=sampled[file.path],
            frames_kept=kept[file.path],
            replaced=replaced,
            overlay=overlays.get(file.path, ""),
        )
        for file in unit.files
    ]
    if stream.sampling is not None:
        mean, highest = stream.sampling.error_mean, stream.sampling.error_max
        made = stream.deinterlaced
        files = [replace(file, deinterlaced=made, time_error_mean=mean, time_error_max=highest) for file in files]
    return StagedUnit(files, clips, drops)


def _dropped(
    stream: FrameStream, encoded: list[_Encoded | None], verdicts: list[Verdict | None]
) -> list[Dropped | None]:
    """What is dropped of the unit, one entry per sample, `None` where it is kept."""
    dropped: list[Dropped | None] = []
    for sample, item, verdict in zip(stream.samples, encoded, verdicts, strict=True):
        if verdict is None:
            dropped.append(None)
            continue
        place = (item.offset, item.length) if item else (0, 0)
        why = (verdict.reason, verdict.score, verdict.threshold)
        dropped.append(Dropped(sample.file.input, sample.file.path, sample.timestamp, *why, *place))
    return dropped


def _clip(
    unit: Unit,
    stream: FrameStream,
    settings: CurationSettings,
    positions: list[int],
    first: _Encoded,
    hashes: dict[str, str],
    number: int,
) -> Clip:
    samples = [stream.samples[position] for position in positions]
    labels = resolve_labels(unit.files[0].labels, settings, unit.files[0].input)
    start, end = samples[0].timestamp, samples[-1].timestamp
    fps = stream.fps
    if fps is None and end > start:
        fps = round((len(samples) - 1) / (end - start), 6)
    return Clip(
        clip_id=f"{unit.video_id}-{number:06d}",
        source=labels.source,
        video_id=unit.video_id,
        case_id=unit.case_id,
        split=unit.folder_split,  # resolved over all cases when the manifest is written
        procedures=procedure_names(labels.procedure),
        robotic=labels.robotic,
        licence=labels.licence,
        fps=fps,
        width=first.width,
        height=first.height,
        t_start=start,
        t_end=end,
        num_frames=len(samples),
        sha256=_clip_sha256([hashes[path] for path in dict.fromkeys(sample.file.path for sample in samples)]),
        **first.seen.columns,
        weight=1.0,
        overlaps=test_cases_of(labels.source, samples[0].file.location),  # the true name; `path` may be hashed
        path=samples[0].file.path,
        shard="",
        shard_row=-1,
    )


def _clip_sha256(digests: list[str]) -> str:
    """Of one file its own digest; of several stills the digest of their digests."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()

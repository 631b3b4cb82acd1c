"""What lies in the input folders: which files are videos, which are stills that belong together, which are neither.

Nothing is opened here: names, sizes and times are read. Hidden files and folders are passed over in silence; every
other file ends up either in a `Unit` (the independent piece of curation work: one video, or the stills of one video)
or as a `Drop`.
"""

import hashlib
import json
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from training.corpus.labels import UNLABELED, Labels
from training.corpus.manifest import Drop
from training.corpus.settings import CurationSettings
from training.errors import UserError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".mkv", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".webm", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp"}
)
STILL_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"])
HELD_OUT_FOLDERS = frozenset(["val", "valid", "validation", "test", "testing", "held_out"])
TRAIN_FOLDERS = frozenset(["train", "training"])
LABEL_FOLDERS = frozenset(
    {"masks", "mask", "labels", "annotations", "ground_truth", "groundtruth"}
    | {"segmentation", "semseg", "insseg", "depth"}
)
# Label pictures that lie beside their frames, such as CholecSeg8k's frame_80_endo_color_mask.png.
LABEL_STEM = re.compile(r"(^|[_-])(masks?|labels?|segmentation|semseg|insseg|depth|gt|ground_?truth)$", re.IGNORECASE)


@dataclass(frozen=True)
class SourceFile:
    """One file of an input folder, one row of a source manifest or one row of a dataset."""

    input: str  # name of the input folder, source manifest or dataset
    path: str  # below the input folder, with "/"; a part of a video ends in "#t=start,end"
    location: Path
    size: int  # bytes
    mtime_ns: int
    number: int | None = None  # frame number in the name of a still
    prefix: str = ""  # what stands before a bare number; stills with another prefix are another sequence
    labels: Labels = UNLABELED
    # Where a file that is not on this machine comes from: a URL, or the row of a dataset. It has no size and time until
    # it is fetched.
    url: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the file from run to run."""
        return self.input, self.path


@dataclass(frozen=True)
class Unit:
    """One video file, or the stills of one video in order: what is curated, committed and resumed as one."""

    kind: str  # "video" or "stills"
    video_id: str
    case_id: str
    folder_split: str  # "held_out", "train" or "" as the folder names say
    files: tuple[SourceFile, ...]
    sequence: bool = True  # stills: whether their numbers are frame numbers of one video

    @property
    def key(self) -> str:
        """Short hash of what the unit consists of; it changes when a file is added or touched."""
        facts = [(file.input, file.path, file.size, file.mtime_ns) for file in self.files]
        return hashlib.sha256(json.dumps([self.kind, self.video_id, facts]).encode()).hexdigest()[:24]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


@dataclass
class Scan:
    """Everything below the inputs."""

    videos: list[SourceFile] = field(default_factory=list)
    stills: list[SourceFile] = field(default_factory=list)
    rejected: list[tuple[SourceFile, Drop]] = field(default_factory=list)
    remote: list[SourceFile] = field(default_factory=list)  # to be fetched

    def files(self) -> list[SourceFile]:
        """All files, of every kind."""
        return [*self.videos, *self.stills, *self.remote, *(file for file, _ in self.rejected)]

    def extend(self, other: "Scan") -> None:
        """Take in what lies below another input."""
        self.videos += other.videos
        self.stills += other.stills
        self.rejected += other.rejected
        self.remote += other.remote

    def add(self, file: SourceFile) -> None:
        """File a file by its name: as a video, a still, or rejected."""
        reason, detail = _refusal(file)
        if reason:
            self.rejected.append((file, file_drop(file, "", reason, detail)))
        elif file.location.suffix.lower() in VIDEO_SUFFIXES:
            self.videos.append(file)
        else:
            self.stills.append(file)


def check_places(inputs: Sequence[Path], out: Path) -> list[Path]:
    """Resolved inputs. Raises `UserError` for a missing input, one inside another, or one inside OUT."""
    resolved: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise UserError(f"input {str(path)!r} does not exist: give a folder or file of videos or images")
        here, target = path.resolve(), out.resolve()
        if here == target or target in here.parents:
            raise UserError(f"input {str(path)!r} lies inside the output folder {str(out)!r}: choose another OUT")
        for other in resolved:
            if here == other or other in here.parents or here in other.parents:
                raise UserError(f"inputs {str(other)!r} and {str(here)!r} overlap: give each file once")
        resolved.append(here)
    return resolved


def beside(out: Path, suffix: str) -> Path:
    """The folder beside an output folder that is called like it and ends in `suffix`, also for "." and "..".

    Raises:
        UserError: OUT is the root of the file system, which has no name.
    """
    named = out.resolve() if out.name in ("", "..") else out
    if not named.name:
        raise UserError(f"output {str(out)!r} has no name: give a folder that is new, empty, or a corpus")
    return named.with_name(named.name + suffix)


def scan(inputs: Sequence[Path], *outputs: Path) -> Scan:
    """List the files of the inputs (see `check_places`), sorted by name. `outputs` are passed over."""
    found = Scan()
    seen: dict[tuple[str, str], Path] = {}
    for root in inputs:
        base = root if root.is_dir() else root.parent
        roots = [*inputs]
        for location, problem in _walk(root, [out.resolve() for out in outputs], roots):
            path = printable(location.relative_to(base).as_posix())
            file = source_file(base.name or "root", path, location)
            if file.key in seen:
                raise UserError(
                    f"{str(seen[file.key])!r} and {str(location)!r} have the same name below inputs of the same name: "
                    "rename one input folder, or give their common parent"
                )
            seen[file.key] = location
            if problem:
                found.rejected.append((file, file_drop(file, "", *problem)))
            else:
                found.add(file)
    return found


def group(videos: Sequence[SourceFile], stills: Sequence[SourceFile], settings: CurationSettings) -> list[Unit]:
    """Videos and stills as units, in the order in which they are curated.

    A video's id is its input and path, so that equal names in different folders stay apart; its case is the same
    without the extension. Stills whose name matches `still_pattern` belong to the video it names in that folder, all
    others to a video named after the folder. Labels of the files come first: they name video, case and frame number.

    Raises:
        UserError: two groups of stills would get the same video_id, two video files are given the same, or stills of
            one video different labels.
    """
    units = [_video_unit(file, settings) for file in videos]
    pattern = re.compile(settings.still_pattern)
    groups: dict[tuple[str, str, str], list[SourceFile]] = defaultdict(list)
    for still in stills:
        name, kind, file = _numbered(still, pattern)
        groups[file.input, name, kind].append(file)
    owners: dict[str, str] = {}
    for (_, name, kind), members in groups.items():
        first = members[0]
        video_id = first.labels.video_id or safe_id(first, PurePosixPath(name))
        if video_id in owners:
            raise UserError(
                f"images {first.path!r} and those of folder {name!r} would both become video {video_id!r}: "
                "rename the folder, or set still_pattern"
            )
        owners[video_id] = name
        odd = next((file for file in members if file.labels.of_the_video != first.labels.of_the_video), None)
        if odd is not None:
            raise UserError(
                f"images {first.path!r} and {odd.path!r} belong to video {video_id!r} but have different labels: give "
                "them the same case, source, procedures, robotic, licence and fps, or different video_ids"
            )
        ordered = sorted(members, key=lambda file: (file.prefix, file.number is None, file.number or 0, file.path))
        case = _case(first, PurePosixPath(name), settings)
        sequence = kind == "named" or _counts_frames(ordered)
        units.append(Unit("stills", video_id, case, _split(first), tuple(ordered), sequence))
    _check_given_ids(units)
    return sorted(units, key=lambda unit: (unit.files[0].input, unit.files[0].path, unit.video_id))


def safe_id(file: SourceFile, path: PurePosixPath | None = None) -> str:
    """Input name and path as one name that is safe in file names: parts joined by `__`.

    Where that would be ambiguous (other characters, underscores at the joints) or long, a hash of the path is added.
    """
    parts = [file.input, *(path or PurePosixPath(file.path)).parts]
    name = "__".join(re.sub(r"[^A-Za-z0-9.-]+", "_", part) for part in parts)
    plain = all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*(_[A-Za-z0-9.-]+)*", part) for part in parts)
    if plain and len(name) <= 120:
        return name
    return f"{name[-100:].lstrip('._-')}-{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:12]}"


def file_drop(file: SourceFile, video_id: str, reason: str, detail: str, *, num_frames: int = 0) -> Drop:
    """The drop row of a whole file."""
    return Drop(file.input, file.path, video_id, None, None, num_frames, reason, None, None, detail)


def source_file(input_name: str, path: str, location: Path, labels: Labels = UNLABELED) -> SourceFile:
    """The file at `location` with its size and time, both 0 where it cannot be asked."""
    try:
        facts = location.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return SourceFile(printable(input_name), path, location, 0, 0, labels=labels)
    return SourceFile(printable(input_name), path, location, facts.st_size, facts.st_mtime_ns, labels=labels)


def printable(text: str) -> str:
    """A path as valid Unicode: bytes that are not become escapes."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def _walk(root: Path, outputs: Sequence[Path], roots: list[Path]) -> Iterator[tuple[Path, tuple[str, str] | None]]:
    """Files below a folder (or the file itself), sorted, each with a reason and detail if it cannot be used."""
    if not root.is_dir():
        yield root, None
        return
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        yield root, ("unreadable", error.strerror or str(error))
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            is_folder = entry.is_dir()
        except OSError as error:
            yield entry, ("unreadable", error.strerror or str(error))
            continue
        if not is_folder:
            yield entry, None
        elif entry in outputs:
            continue
        elif not entry.is_symlink():
            yield from _walk(entry, outputs, roots)
        else:
            target = entry.resolve()
            # A link into what is walked anyway would give files twice, a link to a parent would never end.
            if any(
                target == other or other in target.parents or target in other.parents for other in [*roots, *outputs]
            ):
                yield entry, ("linked_folder", "a link to a folder that is part of the input anyway, or holds it")
            else:
                roots.append(target)
                yield from _walk(entry, outputs, roots)


def _refusal(file: SourceFile) -> tuple[str, str]:
    """Reason and detail why a file is no source of frames, judged by its name and size; empty strings if it is one."""
    path = PurePosixPath(file.path)
    labels = [part for part in path.parts[:-1] if _folder_word(part) in LABEL_FOLDERS]
    if labels:
        return "label_folder", f"below folder {labels[0]!r}"
    suffix = file.location.suffix.lower()
    if suffix not in VIDEO_SUFFIXES | STILL_SUFFIXES:
        return "not_media", f"extension {suffix!r}" if suffix else "no extension"
    if suffix in STILL_SUFFIXES and LABEL_STEM.search(path.stem):
        return "label_file", "named like a mask or label picture"
    try:
        if not stat.S_ISREG(file.location.stat().st_mode):
            return "not_media", "not a regular file"
    except OSError as error:
        return "unreadable", error.strerror or str(error)
    return "", ""


def _number(digits: str) -> int | None:
    """A frame number; `None` for what is no number or too long for one (a date with time, an instance UID)."""
    return int(digits) if digits.isdecimal() and len(digits) <= 15 else None


def _video_unit(file: SourceFile, settings: CurationSettings) -> Unit:
    whole = PurePosixPath(re.sub(r"#t=[\d.e+-]*,[\d.e+-]*$", "", file.path) if file.labels.part else file.path)
    video_id = file.labels.video_id or safe_id(file, whole)
    return Unit("video", video_id, _case(file, whole.with_suffix(""), settings), _split(file), (file,))


def _numbered(file: SourceFile, pattern: re.Pattern[str]) -> tuple[str, str, SourceFile]:
    """Name of the video that a still belongs to, "named" if its number counts frames of it, and the still with it."""
    folder, stem = PurePosixPath(file.path).parent, PurePosixPath(file.path).stem
    match = pattern.match(stem)
    named = match.groupdict().get("video") if match else None
    number = file.labels.frame if file.labels.frame is not None else _number(match["frame"]) if match else None
    name = file.labels.video_id or str(folder / named if named and number is not None else folder)
    if number is not None:
        counts = named or file.labels.video_id or file.labels.frame is not None
        return name, "named" if counts else "", replace(file, number=number, prefix="")
    digits = re.search(r"\d+$", stem)
    prefix = stem[: digits.start()] if digits else stem
    return name, "", replace(file, number=_number(digits[0]) if digits else None, prefix=prefix)


def _check_given_ids(units: Sequence[Unit]) -> None:
    """Raise `UserError` when labels give one video_id to two videos; parts of one file may share it."""
    owners: dict[str, Unit] = {}
    for unit in units:
        owner = owners.setdefault(unit.video_id, unit)
        if owner is not unit and owner.files[0].location != unit.files[0].location:
            raise UserError(
                f"{owner.files[0].path!r} and {unit.files[0].path!r} are given the same video_id {unit.video_id!r}: "
                "each video needs its own (the operation they belong to is the case_id)"
            )


def _counts_frames(files: Sequence[SourceFile]) -> bool:
    """Whether bare numbers look like frame numbers: padded to one width (0001.jpg), not like a count (1.jpg)."""
    digits = [re.search(r"\d+$", PurePosixPath(file.path).stem) for file in files]
    texts = [match[0] for match in digits if match]
    if len(texts) < len(files) or len({len(text) for text in texts}) > 1:
        return False
    return len(texts[0]) >= 4 or any(text.startswith("0") for text in texts)


def _case(file: SourceFile, path: PurePosixPath, settings: CurationSettings) -> str:
    if file.labels.case_id:
        return file.labels.case_id
    if settings.case_pattern:
        match = re.search(settings.case_pattern, file.path)
        if match and match["case"]:
            return match["case"]
    return file.labels.video_id or safe_id(file, path)


def _split(file: SourceFile) -> str:
    """What the folder names (the input's own included) say about the split."""
    words = {_folder_word(part) for part in (file.input, *PurePosixPath(file.path).parts[:-1])}
    if words & HELD_OUT_FOLDERS:
        return "held_out"
    return "train" if words & TRAIN_FOLDERS else ""


def _folder_word(name: str) -> str:
    return re.sub(r"[ -]", "_", name.lower())

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
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

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
    """One file of an input folder."""

    input: str  # name of the input folder
    path: str  # below the input folder, with "/"
    location: Path
    size: int  # bytes
    mtime_ns: int
    number: int | None = None  # frame number in the name of a still
    prefix: str = ""  # what stands before a bare number; stills with another prefix are another sequence

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

    def files(self) -> list[SourceFile]:
        """All files, of every kind."""
        return [*self.videos, *self.stills, *(file for file, _ in self.rejected)]


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


def scan(inputs: Sequence[Path], out: Path) -> Scan:
    """List the files of the inputs (see `check_places`), sorted by name. `out` is passed over."""
    found = Scan()
    seen: dict[tuple[str, str], Path] = {}
    for root in inputs:
        base = root if root.is_dir() else root.parent
        roots = [*inputs]
        for location, problem in _walk(root, out.resolve(), roots):
            path = _printable(location.relative_to(base).as_posix())
            file = _source_file(base.name or "root", path, location)
            if file.key in seen:
                raise UserError(
                    f"{str(seen[file.key])!r} and {str(location)!r} have the same name below inputs of the same name: "
                    "rename one input folder, or give their common parent"
                )
            seen[file.key] = location
            reason, detail = problem or _refusal(file)
            if reason:
                found.rejected.append((file, file_drop(file, "", reason, detail)))
            elif location.suffix.lower() in VIDEO_SUFFIXES:
                found.videos.append(file)
            else:
                found.stills.append(file)
    return found


def group(videos: Sequence[SourceFile], stills: Sequence[SourceFile], settings: CurationSettings) -> list[Unit]:
    """Videos and stills as units, in the order in which they are curated.

    A video's id is its input and path, so that equal names in different folders stay apart; its case is the same
    without the extension. Stills whose name matches `still_pattern` belong to the video it names in that folder, all
    others to a video named after the folder.

    Raises:
        UserError: two groups of stills would get the same video_id.
    """
    units = [
        Unit(
            "video",
            safe_id(file),
            _case(file, PurePosixPath(file.path).with_suffix(""), settings),
            _split(file),
            (file,),
        )
        for file in videos
    ]
    pattern = re.compile(settings.still_pattern)
    groups: dict[tuple[str, str, str], list[SourceFile]] = defaultdict(list)
    for file in stills:
        folder, stem = PurePosixPath(file.path).parent, PurePosixPath(file.path).stem
        match = pattern.match(stem)
        named = match.groupdict().get("video") if match else None
        number = _number(match["frame"]) if match else None
        if number is not None:
            numbered = _with_number(file, number, "")
            groups[file.input, str(folder / named) if named else str(folder), "named" if named else ""].append(numbered)
        else:
            digits = re.search(r"\d+$", stem)
            number = _number(digits[0]) if digits else None
            prefix = stem[: digits.start()] if digits else stem
            groups[file.input, str(folder), ""].append(_with_number(file, number, prefix))
    owners: dict[str, tuple[str, str, str]] = {}
    for name, members in groups.items():
        first = members[0]
        video_id = safe_id(first, PurePosixPath(name[1]))
        if video_id in owners:
            raise UserError(
                f"images {members[0].path!r} and those of folder {name[1]!r} would both become video {video_id!r}: "
                "rename the folder, or set still_pattern"
            )
        owners[video_id] = name
        ordered = sorted(members, key=lambda file: (file.prefix, file.number is None, file.number or 0, file.path))
        case = _case(first, PurePosixPath(name[1]), settings)
        sequence = name[2] == "named" or _counts_frames(ordered)
        units.append(Unit("stills", video_id, case, _split(first), tuple(ordered), sequence))
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


def _walk(root: Path, out: Path, roots: list[Path]) -> Iterator[tuple[Path, tuple[str, str] | None]]:
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
        elif entry == out:
            continue
        elif not entry.is_symlink():
            yield from _walk(entry, out, roots)
        else:
            target = entry.resolve()
            # A link into what is walked anyway would give files twice, a link to a parent would never end.
            if any(target == other or other in target.parents or target in other.parents for other in [*roots, out]):
                yield entry, ("linked_folder", "a link to a folder that is part of the input anyway, or holds it")
            else:
                roots.append(target)
                yield from _walk(entry, out, roots)


def _source_file(input_name: str, path: str, location: Path) -> SourceFile:
    try:
        facts = location.stat()
    except OSError:
        return SourceFile(_printable(input_name), path, location, 0, 0)
    return SourceFile(_printable(input_name), path, location, facts.st_size, facts.st_mtime_ns)


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


def _with_number(file: SourceFile, number: int | None, prefix: str) -> SourceFile:
    return SourceFile(file.input, file.path, file.location, file.size, file.mtime_ns, number, prefix)


def _counts_frames(files: Sequence[SourceFile]) -> bool:
    """Whether bare numbers look like frame numbers: padded to one width (0001.jpg), not like a count (1.jpg)."""
    digits = [re.search(r"\d+$", PurePosixPath(file.path).stem) for file in files]
    texts = [match[0] for match in digits if match]
    if len(texts) < len(files) or len({len(text) for text in texts}) > 1:
        return False
    return len(texts[0]) >= 4 or any(text.startswith("0") for text in texts)


def _case(file: SourceFile, path: PurePosixPath, settings: CurationSettings) -> str:
    if settings.case_pattern:
        match = re.search(settings.case_pattern, file.path)
        if match and match["case"]:
            return match["case"]
    return safe_id(file, path)


def _split(file: SourceFile) -> str:
    """What the folder names (the input's own included) say about the split."""
    words = {_folder_word(part) for part in (file.input, *PurePosixPath(file.path).parts[:-1])}
    if words & HELD_OUT_FOLDERS:
        return "held_out"
    return "train" if words & TRAIN_FOLDERS else ""


def _folder_word(name: str) -> str:
    return re.sub(r"[ -]", "_", name.lower())


def _printable(text: str) -> str:
    """A path as valid Unicode: bytes that are not become escapes."""
    return os.fsencode(text).decode("utf-8", "backslashreplace")

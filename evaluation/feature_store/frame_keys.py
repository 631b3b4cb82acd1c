"""Which frame a stored feature belongs to: by content, so that moved data is found and replaced files are not."""

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from tqdm import tqdm

from evaluation.frames import AnyFrame, CorpusFrame, UnreadableFrameError
from training.corpus import Clip, Corpus

BLOCK = 65_536  # bytes read at a place of a file
BLOCKS = (
    16  # places: the first and last block see what encoders write, those between see uncompressed letterboxed stills
)
STILL = -1  # number of the frame of an image file
REMEMBERED_FILES = 1 << 20  # digests kept per process, some 300 bytes each; a plan and the run after it read files once

FrameKey = tuple[str, int]  # digest of the file or clip, and the number of the frame in it


def frame_keys(frames: Sequence[AnyFrame]) -> list[FrameKey]:
    """The keys of frames, in their order. They hold no name and no path.

    A file is known by SHA-256 over its size, its first and last 64 KiB and 14 blocks between them (all of it up to 1
    MiB), a clip of a corpus by SHA-256 over the digest of its source, its times, its length, and its first and last
    frame as they are stored.

    Raises:
        UnreadableFrameError: a file that cannot be read.
        UserError: a corpus that cannot be read, or a clip that it does not have.
    """
    digests: dict[tuple[Path, str], str] = {}
    by_corpus: dict[Path, dict[str, None]] = {}
    for frame in frames:
        if isinstance(frame, CorpusFrame):
            by_corpus.setdefault(frame.corpus, {})[frame.clip_id] = None
    for folder, clip_ids in by_corpus.items():
        corpus = Corpus.open(folder)
        for clip_id, clip in corpus.find(list(clip_ids)).items():
            digests[folder, clip_id] = clip_digest(corpus, clip)
    files = dict.fromkeys(frame.path for frame in frames if not isinstance(frame, CorpusFrame))
    for path in tqdm(files, desc="digests of files", unit="file", delay=2, leave=False):
        digests[path, ""] = file_digest(path)
    keys = []
    for frame in frames:
        if isinstance(frame, CorpusFrame):
            keys.append((digests[frame.corpus, frame.clip_id], frame.position))
        else:
            keys.append((digests[frame.path, ""], STILL if frame.frame_index is None else frame.frame_index))
    return keys


def file_digest(path: Path) -> str:
    """Hex SHA-256 over the size of a file and blocks of it. Raises `UnreadableFrameError` if it cannot be read."""
    try:
        facts = path.stat()
        return _digest_of_blocks(path, facts.st_size, facts.st_mtime_ns)
    except OSError as error:
        message = f"file {str(path)!r} cannot be read ({error.strerror}); bring it back or leave its data out"
        raise UnreadableFrameError(path, message) from error


@lru_cache(maxsize=REMEMBERED_FILES)
def _digest_of_blocks(path: Path, size: int, mtime_ns: int) -> str:
    """`mtime_ns` only tells the versions of a file apart within this process."""
    digest = hashlib.sha256(f"{size} ".encode())
    with path.open("rb") as file:
        if size <= BLOCK * BLOCKS:
            digest.update(file.read())
        else:
            for block in range(BLOCKS):
                file.seek((size - BLOCK) * block // (BLOCKS - 1))
                digest.update(file.read(BLOCK))
    return digest.hexdigest()


def clip_digest(corpus: Corpus, clip: Clip) -> str:
    """Hex SHA-256 over what a clip was cut from and its first and last frame, encoded."""
    digest = hashlib.sha256(json.dumps([clip.sha256, clip.t_start, clip.t_end, clip.num_frames]).encode())
    for _, image in corpus.encoded(clip, (0, clip.num_frames - 1)):
        digest.update(image)
    return digest.hexdigest()

"""Decoding in a process of its own, watched: a decoder that crashes or hangs on a damaged file costs one video only.

A decoder is C code, and decord 0.6 is known to spin forever on some damaged H.264 streams, where no exception or signal
handler of Python can reach it. So the decoder lives in a child process that serves one video after the other over a
pipe; the pipe's small buffer also keeps it at most a frame or two ahead, which bounds memory whatever the length of the
video.
"""

import contextlib
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from training.corpus.decoding import (
    DEINTERLACE,
    MODES,
    DecodeError,
    VideoFacts,
    facts_of,
    open_video,
    read_arrays,
)
from training.errors import UserError

if TYPE_CHECKING:
    from modeling_zen.video_reader_zen import VideoReader

OPEN_BYTES_PER_SECOND = 10e6  # readers go through a whole file to open it; slower than this is called a stall
SKIP_FRAMES_PER_SECOND = 20  # slowest decoding we wait for between two wanted frames (8K on one slow core)
START_SECONDS = 120.0  # for the child to import its libraries, on a busy machine with a cold disk
MAX_REOPENED = 20  # damaged places in one video after which the rest is given up


@dataclass(frozen=True)
class DecodingSettings:
    """Settings of video decoding. `threads` and `stall_seconds` do not change what comes out."""

    # auto: PyAV, and decord or torchcodec where it is missing or refuses the file; at 1 to 5 fps PyAV took two thirds
    # of decord's time on our files.
    reader: str = "auto"
    # exact: the frame nearest to each sampling time. keyframes: the key frame nearest to it, several times as fast, for
    # corpora in which the exact time does not matter.
    mode: str = "exact"
    deinterlace: str = "auto"  # interlaced video becomes whole pictures, where PyAV reads it; or "never"
    threads: int = 2  # of the decoder; more gains little at 1 fps and takes cores from the rest
    stall_seconds: float = 60.0  # silence after which the decoder counts as hung, beyond the time its work may take

    def __post_init__(self) -> None:
        for key, value, known in (("mode", self.mode, MODES), ("deinterlace", self.deinterlace, DEINTERLACE)):
            if value not in known:
                raise UserError(f"setting decoding.{key}={value!r} is not known: it must be one of {', '.join(known)}")


@dataclass(frozen=True)
class Lost:
    """A sampled frame that could not be decoded."""

    detail: str


class DecoderProcess:
    """Opens and reads videos in a child process. One video at a time; a broken child is replaced by a new one.

    Use as a context manager. The child starts with the first video.
    """

    def __init__(self, settings: DecodingSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._path: Path | None = None  # the video that is open

    def __enter__(self) -> "DecoderProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def open(self, path: Path) -> VideoFacts:
        """Open a video. Raises `DecodeError` when it cannot be opened, or when the decoder crashes or hangs."""
        self._path = path
        size = path.stat().st_size
        self._start()
        self._send(("open", path))
        kind, value = self._receive(self._settings.stall_seconds + size / OPEN_BYTES_PER_SECOND)
        if kind == "error":
            raise DecodeError(value)
        return value

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray | Lost]:
        """Read frames of the open video by ascending native frame number: one answer per index, in order.

        Yields uint8 (H, W, 3) RGB, or `Lost` with the reason. Never raises for a damaged video: when the decoder
        crashes or hangs, this and all later frames are lost.
        """
        done, previous = 0, 0
        finished = False
        try:
            if self._process is None and self._path is not None:  # an earlier read broke the child
                self.open(self._path)
            self._send(("read", [int(index) for index in indices]))
            for index in indices:
                work = max(int(index) - previous, 250) / SKIP_FRAMES_PER_SECOND  # 250: the usual longest GOP
                kind, value = self._receive(self._settings.stall_seconds + work)
                yield Lost(value) if kind == "lost" else value
                done, previous = done + 1, int(index)
            finished = True
        except DecodeError as error:
            for _ in range(len(indices) - done):
                yield Lost(str(error))
        finally:
            if not finished:  # the caller left early or the child is broken: its pipe may hold stale answers
                self.stop()

    def stop(self) -> None:
        """End the child process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self.stop()
        # Not multiprocessing: fork would copy the locks of Arrow's and OpenCV's threads, spawn would run the caller's
        # script a second time. FFmpeg writes a line per damaged macroblock to stderr, past every log level; what
        # matters comes back in the answers.
        self._pipe, other = Pipe()
        settings = self._settings
        call = f"serve({other.fileno()}, {settings.reader!r}, {settings.threads}, {settings.deinterlace!r})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from training.corpus.decoder_process import serve; {call}"],
            pass_fds=[other.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        other.close()
        self._receive(START_SECONDS)

    def _send(self, message: tuple[str, Any]) -> None:
        if self._pipe is None:
            raise DecodeError("the decoder was stopped")
        try:
            self._pipe.send(message)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise DecodeError(self._crashed()) from error

    def _receive(self, seconds: float) -> tuple[str, Any]:
        if self._pipe is None:
            raise DecodeError("the decoder was stopped")
        try:
            if self._pipe.poll(seconds):
                kind, value = self._pipe.recv()
                return kind, _receive_array(self._pipe, value, seconds) if kind == "frame" else value
        except (EOFError, ConnectionResetError) as error:
            raise DecodeError(self._crashed()) from error
        except TimeoutError:
            pass  # in the midst of a frame
        self.stop()
        raise DecodeError(f"the decoder hung: no answer for {self._settings.stall_seconds:g} s beyond its due time")

    def _crashed(self) -> str:
        code: int | None = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):  # its pipe closed, so it is about to be gone
                code = self._process.wait(5)
        self.stop()
        return f"the decoder crashed (exit code {code})"


def serve(pipe_number: int, reader: str, threads: int, deinterlace: str) -> None:
    """The child process: answer `open` and `read` on the inherited pipe until it closes."""
    pipe = Connection(pipe_number)
    pipe.send(("ready", None))
    threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()
    patient: PatientReader | None = None
    while True:
        try:
            command, argument = pipe.recv()
        except EOFError:
            return
        if command == "open":
            patient = None  # the old video is closed before the new one takes memory
            try:
                patient = PatientReader(argument, reader, threads, deinterlace)
                pipe.send(("opened", facts_of(patient.video)))
            except DecodeError as error:
                pipe.send(("error", str(error)))
        elif patient is not None:
            for answer in patient.read(argument):
                if isinstance(answer, Lost):
                    pipe.send(("lost", answer.detail))
                else:
                    pipe.send(("frame", answer.shape))
                    _send_array(pipe, answer)


# A frame is read from the socket into its own memory: pickled, it would be copied four times.
def _send_array(pipe: Connection, array: np.ndarray) -> None:
    rest = np.ascontiguousarray(array).data.cast("B")
    while rest:
        rest = rest[os.write(pipe.fileno(), rest) :]


def _receive_array(pipe: Connection, shape: tuple[int, ...], seconds: float) -> np.ndarray:
    """The uint8 array that `_send_array` sent. Raises `EOFError` when the other side is gone, `TimeoutError`."""
    array = np.empty(shape, np.uint8)
    rest = array.data.cast("B")
    while rest:
        if not pipe.poll(seconds):
            raise TimeoutError
        done = os.readv(pipe.fileno(), [rest])
        if not done:
            raise EOFError
        rest = rest[done:]
    return array


class PatientReader:
    """Reads around damage: after an error it goes on at the next key frame with a newly opened reader.

    A decoder that failed once may answer with errors (or old frames) from then on, and frames between the damage and
    the next key frame are predicted from damaged ones: they are lost without trying.
    """

    def __init__(self, path: Path, reader: str, threads: int, deinterlace: str) -> None:
        self._path = path
        self._settings = (reader, threads, deinterlace)
        self.video: VideoReader = open_video(path, *self._settings)
        self._is_broken = False

    def read(self, indices: Sequence[int]) -> Iterator[np.ndarray | Lost]:
        """One answer per native frame number, in order; ascending numbers are the quick way."""
        keyframes = self.video.keyframes()
        failures = 0
        todo = list(indices)
        while todo:
            run = _ascending_run(todo)
            done = 0
            try:
                if self._is_broken:
                    self.video.close()
                    self.video = open_video(self._path, *self._settings)
                    self._is_broken = False
                for frame in read_arrays(self.video, run, self._path):
                    yield frame
                    done += 1
                todo = todo[done:]
            except DecodeError as error:
                failures += 1
                later = [key for key in keyframes if key > run[done]]
                resume = later[0] if later and failures < MAX_REOPENED else 2**62
                lost = sum(index < resume for index in run[done:])  # at least this one
                yield from [Lost(str(error))] * lost
                todo = todo[done + lost :]
                self._is_broken = True


def _ascending_run(numbers: list[int]) -> list[int]:
    """The numbers up to where they first do not ascend: 1, 4, 4, 5 -> 1, 4."""
    for place, (one, other) in enumerate(itertools.pairwise(numbers), 1):
        if other <= one:
            return numbers[:place]
    return numbers


def end_with_parent(parent: int) -> None:
    """End this process when its parent is gone: a hung decoder would otherwise spin on as an orphan."""
    while os.getppid() == parent:
        time.sleep(2.0)
    os._exit(1)

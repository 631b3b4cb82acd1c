"""The reader on PyAV: decodes only what the wanted frames need.

Of the packets between a key frame and a wanted frame, those to which no other frame refers are not decoded; those
behind a wanted frame up to the next needed key frame are not even looked into.
"""

import importlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .video_container_zen import is_cut_short
from .video_index_zen import Need, PacketIndex, PacketPlan
from .video_reader_zen import FrameChunk, RefusedError, VideoReader, damaged, reason_of, stated_rate

# Codecs in which FFmpeg knows for certain from a packet's head that no other frame refers to it. (HEVC says so of one
# temporal layer only, VP9 and AV1 leave it to a state that a packet's head changes.)
_TELLS_REFERENCES = ("h264", "mpeg1video", "mpeg2video", "mpeg4")
# Packets that are passed over one by one rather than by seeking: reading them costs less than a seek.
_NEAR = 500
_NOWHERE = 2**62  # frame number behind all others: whatever is asked for next, the decoder begins afresh


class PyAVReader(VideoReader):
    """Reads files, URLs and live sources."""

    backend = "pyav"

    def __init__(self, source: str, threads: int) -> None:
        self.source = source
        self._av = importlib.import_module("av")
        self._threads = threads
        self._index: PacketIndex | None = None
        self._plan: PacketPlan | None = None
        try:
            self._open(is_first=True)
        except self._av.FFmpegError as error:
            raise RefusedError(reason_of(error, source)) from error
        if self._ahead is None:
            raise RefusedError("the video has no frames")
        self._first_pts = self._ahead.pts
        self.is_interlaced = bool(self._ahead.interlaced_frame)
        self._is_live = not Path(source).is_file() and not self._container.duration
        self.fps = stated_rate(self._stream.average_rate or self._stream.guessed_rate)
        self.height, self.width = (int(side) for side in self._pixels(self._ahead).shape[:2])

    @property
    def num_frames(self) -> int | None:
        """See `VideoReader`; reads all packets once."""
        return None if self._is_live else self._packets().count

    @property
    def stated_duration(self) -> float | None:
        """See `VideoReader`."""
        stream, container = self._stream.duration, self._container.duration
        if stream is not None and self._stream.time_base is not None:
            return float(stream * self._stream.time_base)
        return None if container is None else container / self._av.time_base

    def timestamps(self) -> np.ndarray:
        """See `VideoReader`; reads all packets once."""
        times = np.array([] if self._is_live else self._packets().times, np.int64)
        # Raw streams state none.
        return (times - times[0]) * float(self._stream.time_base) if len(times) else super().timestamps()

    def keyframes(self) -> list[int]:
        """See `VideoReader`; reads all packets once. A live source, which has no last packet, tells none."""
        return [] if self._is_live else self._packets().keys.tolist()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _open(self, is_first: bool = False) -> None:
        self._container = self._av.open(self.source, metadata_errors="replace")  # a title in Latin-1 is no damage
        cover = self._av.stream.Disposition.attached_pic  # the picture of a sound file
        streams = [each for each in self._container.streams.video if not each.disposition & cover]
        if not streams:
            raise RefusedError("the file has no video stream")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        self._context = self._stream.codec_context
        self._context.thread_count = self._threads
        self._tells_references = self._context.name in _TELLS_REFERENCES
        if is_first:
            self._promised = self._stream.frames  # by the container; 0 where it says nothing
        self._next = -1  # number of `_ahead`
        pictures = self._beginning() if is_first else self._pictures(self._container.demux(self._stream))
        self._restart(pictures, is_running=True)

    def _restart(self, pictures: Iterator[Any], is_running: bool) -> None:
        """Take the pictures from here, where the decoder begins afresh."""
        self._place = -1  # of the last packet that was read
        self._segment = 0 if is_running else None  # place at which the decoder began; `None` before a key frame
        self._is_running = is_running
        self._left_out: set[int] = set()  # numbers of frames that were not decoded, or perhaps not
        self._decoder = pictures
        self._ahead: Any = None  # the decoded frame that was not handed out yet
        self._advance()

    def _beginning(self) -> Iterator[Any]:
        """All pictures; corrects what the container promises by what is not to be shown."""
        early: list[int] = []
        is_early = True
        for packet in self._container.demux(self._stream):
            if is_early and packet.pts is not None:
                early.append(packet.pts)
            for frame in packet.decode() if is_early else self._decode_packet(packet):
                if is_early and frame.pts is not None:
                    # What an edit list cuts off, what comes before the first key frame.
                    self._promised -= sum(pts < frame.pts for pts in early)
                is_early = False
                yield frame

    def _pictures(self, packets: Iterable[Any]) -> Iterator[Any]:
        for packet in packets:
            yield from self._decode_packet(packet)

    def _decode_packet(self, packet: Any) -> list[Any]:
        number = None if self._plan is None or self._index is None else self._index.number_of(packet.pts)
        if self._plan is None or self._index is None or number is None:
            self._leave_out("DEFAULT")
            return packet.decode() if self._is_running else []
        self._place = self._index.place_of(number)
        need = self._plan.need(number)
        if need is Need.NOTHING or not (self._is_running or self._index.is_key(number)):
            self._left_out.add(number)
            return self._end_segment()
        if not self._is_running:
            self._is_running, self._segment = True, self._place
        may_leave_out = need is Need.REFERENCE and self._tells_references
        if may_leave_out:
            self._left_out.add(number)
        self._leave_out("NONREF" if may_leave_out else "DEFAULT")
        return packet.decode()

    def _leave_out(self, what: str) -> None:
        # Decoders with threads of frames note this setting with every packet, as it was when the packet was sent.
        if self._context.skip_frame != what:
            self._context.skip_frame = what

    def _end_segment(self) -> list[Any]:
        """The pictures that the decoder still holds; the next packet it gets is a key frame."""
        if not self._is_running:
            return []
        self._is_running, self._segment = False, None
        frames = self._context.decode(None)
        self._context.flush_buffers()
        return frames

    def _advance(self) -> None:
        """Take the next picture, and its number: by its time where the times tell, else by counting."""
        for frame in self._decoder:
            if self._index is None or not self._index.times:
                self._next += 1
            elif (number := self._index.number_of(frame.pts)) is None:
                continue  # not to be shown
            else:
                self._next = number
            self._ahead = frame
            return
        self._next += 1
        self._ahead = None

    def _all(self, step: int) -> Iterator[int]:
        if step > 1 and not self._is_live:
            self._packets()  # tells what need not be decoded
        return itertools.count(0, step)  # reading on needs no index

    def arrays(self, indices: Iterable[int]) -> Iterator[np.ndarray]:
        """See `VideoReader`."""
        for number, frame in self._frames(self._ascending(indices)):
            yield np.ascontiguousarray(self._picture(number, frame))

    def _decode(self, numbers: Iterator[int], chunk: int) -> Iterator[FrameChunk]:
        import torch

        frames = self._frames(numbers)
        is_done = False
        while not is_done:
            pixels = torch.empty((chunk, self.height, self.width, 3), dtype=torch.uint8)
            # numpy copies without waking a pool of threads, which would take as long as decoding.
            memory = pixels.numpy()
            done: list[int] = []
            times: list[float] = []
            failure: ValueError | None = None
            try:
                for number, frame in itertools.islice(frames, chunk):
                    memory[len(done)] = self._picture(number, frame)
                    times.append(self._time(frame, number))
                    done.append(number)
            except ValueError as error:
                failure = error
            is_done = len(done) < chunk
            if done:
                yield FrameChunk(done, times, pixels[: len(done)])
            if failure is not None:
                raise failure

    def _frames(self, numbers: Iterator[int]) -> Iterator[tuple[int, Any]]:
        """The wanted numbers with their decoded frames. Raises `ValueError` for damage; ends where the source ends."""
        plan: PacketPlan | None = None
        if self._index is not None and self._index.times:
            numbers, ahead = itertools.tee(numbers)
            plan = PacketPlan(self._index, ahead)
        for number in numbers:
            self._plan = plan  # another iteration may have come between
            try:
                frame = self._frame(number)
            except self._av.FFmpegError as error:
                failure = damaged(self, number if plan else self._next, error)
                self._next = _NOWHERE
                raise failure from error
            if frame is None:
                if (failure_at_end := self._early_end()) is not None:
                    raise failure_at_end
                return
            if self._next != number:
                raise damaged(self, number, ValueError("the decoder passes over it"))
            yield number, frame
            if plan is not None:
                plan.reached(number)
                if len(self._left_out) > _NEAR:
                    self._left_out = {each for each in self._left_out if each > self._next}

    def _picture(self, number: int, frame: Any) -> np.ndarray:
        pixels = self._pixels(frame)
        if pixels.shape != (self.height, self.width, 3):
            sizes = f"{self.width} x {self.height} to {pixels.shape[1]} x {pixels.shape[0]}"
            raise ValueError(f"video {self.source!r} changes from {sizes} at frame {number}")
        return pixels

    def _early_end(self) -> ValueError | None:
        """What is wrong, now that there are no more frames, if something is."""
        reason = ""
        # Frame threads swallow errors of their last packets. Single frames are no sign of damage.
        if self._next < 0.99 * self._promised - 2:
            reason = f"the file promises {self._promised} frames"
        elif Path(self.source).is_file() and is_cut_short(self.source):
            reason = "the file is cut short"
        return damaged(self, self._next, ValueError(reason)) if reason else None

    def _time(self, frame: Any, number: int) -> float:
        if frame.pts is None or self._first_pts is None:  # raw streams state no times
            return number / self.fps
        return float((frame.pts - self._first_pts) * self._stream.time_base)

    def _frame(self, number: int) -> Any:
        """The decoded frame of this number, or one after it; `None` where the video ends before."""
        if not self._is_ahead(number):
            self._jump(number)
        self._read_on(number)
        is_missing = self._ahead is None or self._next != number
        if is_missing and self._plan is not None and self._index is not None and number < self._index.count:
            # Some encoders mark frames as key frames from which only the frames a little later can be decoded.
            self._jump(number, keys_back=1)
            self._read_on(number)
        return self._ahead

    def _read_on(self, number: int) -> None:
        while self._ahead is not None and self._next < number:
            self._advance()

    def _is_ahead(self, number: int) -> bool:
        """Whether reading on comes to this frame, and sooner than a jump would."""
        if number < self._next:
            return False
        if self._plan is None or self._index is None or number == self._next:
            return True
        if number in self._left_out:
            return False
        start = self._index.start_of(number)
        if start <= self._place:
            return self._segment is not None and self._segment <= start
        return start - self._place <= _NEAR

    def _jump(self, number: int, keys_back: int = 0) -> None:
        """Go to the key frame from which this frame can be decoded, or to the beginning."""
        index = self._index
        key = None if self._plan is None or index is None else index.key_before(number, keys_back)
        if key and index is not None:
            self._container.seek(index.times[key], stream=self._stream)
            packets = self._container.demux(self._stream)
            for packet in packets:
                landed = index.number_of(packet.pts)
                if landed is None:
                    continue
                if index.place_of(landed) > index.place_of(key):
                    break  # too late: some containers only guess where a time is
                self._restart(self._pictures(itertools.chain([packet], packets)), is_running=False)
                return
        self._container.close()
        self._open()

    def _packets(self) -> PacketIndex:
        if self._index is None:
            self._index = PacketIndex(self._av, self.source, self._stream.index, self._first_pts)
        return self._index

    def _pixels(self, frame: Any) -> np.ndarray:
        """uint8 (height, width, 3), rotated as the container says (PyAV gives degrees against the clock)."""
        return np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4)


__all__ = ["PyAVReader"]

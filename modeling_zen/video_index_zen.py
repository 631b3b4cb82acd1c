"""Which packets of a video hold which frames, and which of them have to be decoded for the frames that are wanted."""

import contextlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from enum import Enum
from typing import Any


class PacketIndex:
    """Presentation times, key frames and order of the packets of a video stream, without decoding any.

    Frame numbers count in the order of presentation, places in the order of the file (which is that of decoding).

    Attributes:
        count: Frames, one per packet.
        times: Their presentation times in units of the stream's time base, ascending. Empty where packets have none or
            share one: such frames can only be counted through from the beginning.
        keys: Numbers of the key frames, ascending; empty where `times` is.
    """

    def __init__(self, av: Any, source: str, stream: int, first: int | None) -> None:
        packets: list[tuple[int | None, bool]] = []
        # A cut file ends in an error.
        with av.open(source, metadata_errors="replace") as container, contextlib.suppress(av.FFmpegError):
            for packet in container.demux(container.streams[stream]):
                # Recordings that begin between key frames: what comes before the first frame shown cannot be decoded.
                is_early = first is not None and packet.pts is not None and packet.pts < first
                if packet.size and not packet.is_discard and not is_early:
                    packets.append((packet.pts, packet.is_keyframe))
        self.count = len(packets)
        known = [(pts, place, is_key) for place, (pts, is_key) in enumerate(packets) if pts is not None]
        known.sort()
        if len({pts for pts, _, _ in known}) < self.count or (known and known[0][0] != first):
            known = []
        self.times = array("q", [pts for pts, _, _ in known])
        self._places = array("q", [place for _, place, _ in known])
        self.keys = array("q", [number for number, (_, _, is_key) in enumerate(known) if is_key])

    def number_of(self, pts: int | None) -> int | None:
        """Number of the frame with this presentation time; `None` when there is none."""
        if pts is None:
            return None
        number = bisect_right(self.times, pts) - 1
        return number if number >= 0 and self.times[number] == pts else None

    def place_of(self, number: int) -> int:
        """Place of a frame's packet."""
        return self._places[number]

    def key_before(self, number: int, keys_back: int = 0) -> int | None:
        """Number of the last key frame at or before this one, or of one `keys_back` further; `None`: there is none."""
        key = bisect_right(self.keys, number) - 1 - keys_back
        return self.keys[key] if key >= 0 else None

    def start_of(self, number: int) -> int:
        """Place from which on this frame can be decoded: that of its key frame, or the beginning."""
        key = self.key_before(number)
        return 0 if key is None else self._places[key]

    def is_key(self, number: int) -> bool:
        """Whether this frame decodes on its own."""
        return self.key_before(number) == number


class Need(Enum):
    """What the wanted frames need of a packet."""

    NOTHING = 0
    REFERENCE = 1  # only if other frames refer to it
    PICTURE = 2


class PacketPlan:
    """Which packets the wanted frames need: each frame those from its key frame to itself.

    Looks at the wanted numbers only as far ahead as the packets have come. Behind the last of them every packet counts
    as wanted, so that a reader can go on from there.

    Args:
        index: Of the stream, with times.
        numbers: Ascending frame numbers.
    """

    def __init__(self, index: PacketIndex, numbers: Iterator[int]) -> None:
        self._index = index
        self._numbers = numbers
        self._wanted: set[int] = set()  # looked at, not handed out yet
        self._until = -1  # place of the last packet that they need
        self._look()

    def need(self, number: int) -> Need:
        """What is needed of the packet of this frame."""
        place = self._index.place_of(number)
        while self._start is not None and self._start <= place:
            self._wanted.add(self._number)
            self._until = max(self._until, self._index.place_of(self._number))
            self._look()
        if place > self._until:
            return Need.PICTURE if self._start is None else Need.NOTHING
        return Need.PICTURE if number in self._wanted else Need.REFERENCE

    def reached(self, number: int) -> None:
        """Forget this wanted frame, which has been handed out, and those before it."""
        self._wanted = {each for each in self._wanted if each > number}

    def _look(self) -> None:
        self._number = next(self._numbers, self._index.count)
        # Place from which on it needs packets; `None` when there are no more.
        self._start = self._index.start_of(self._number) if self._number < self._index.count else None


__all__ = ["Need", "PacketIndex", "PacketPlan"]

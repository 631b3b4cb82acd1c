"""Whole pictures from interlaced video, by the bwdif filter of FFmpeg on each wanted frame and its two neighbors."""

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from training.corpus.decoding import reader_file

if TYPE_CHECKING:
    from modeling_zen.video_pyav_zen import PyAVReader
else:
    PyAVReader = reader_file("video_pyav_zen").PyAVReader


class DeinterlacingReader(PyAVReader):
    """PyAV with a filter behind the decoder. Frames that are not marked as interlaced stay as they are.

    bwdif interpolates the lines of the second field from those around it in space and in time, so that the decoder has
    to give the frames before and after each wanted one too.
    """

    backend = "deinterlacing"

    def _frames(self, numbers: Iterator[int]) -> Iterator[tuple[int, Any]]:
        wanted, others = itertools.tee(numbers)
        last = (self.num_frames or 0) - 1
        decoded = super()._frames(_with_neighbors(others, last))
        recent: dict[int, Any] = {}
        for number in wanted:
            for each, frame in decoded:
                recent[each] = frame
                if each >= min(number + 1, last):
                    break
            recent = {each: frame for each, frame in recent.items() if each >= number - 1}
            if number not in recent:
                return
            yield number, self._filter(recent, number)

    def _filter(self, frames: dict[int, Any], number: int) -> Any:
        if not frames[number].interlaced_frame:
            return frames[number]
        graph = self._av.filter.Graph()
        source = graph.add_buffer(template=self._stream, time_base=self._stream.time_base)
        bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
        sink = graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        graph.configure()
        around = [each for each in (number - 1, number, number + 1) if each in frames]
        for each in around:
            source.push(frames[each])
        source.push(None)
        whole = [sink.pull() for _ in range(around.index(number) + 1)][-1]
        whole.pts = frames[number].pts  # the filter counts in fields
        return whole


def _with_neighbors(numbers: Iterator[int], last: int) -> Iterator[int]:
    """Ascending numbers with the ones before and after each, as far as there are any: 5, 6 -> 4, 5, 6, 7."""
    before = -1
    for number in numbers:
        for each in (number - 1, number, number + 1):
            if before < each <= last:
                yield each
                before = each

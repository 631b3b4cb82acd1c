"""Several processes at one extraction: which frames each computes, and how they wait for each other."""

import datetime
import heapq
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from accelerate import PartialState
from torch import distributed

from evaluation.frames import AnyFrame, UnreadableFrameError, sort_key
from training.errors import UserError

T = TypeVar("T")

# One process may compute for long after another has finished: a video is not divided. Groups wait half an hour else.
LONGEST_WAIT = datetime.timedelta(days=7)


def deal(frames: Sequence[AnyFrame], processes: int) -> list[list[int]]:
    """Positions of the frames of each process, ascending.

    Files and clips go, those with the most frames first, to the process with the fewest frames so far.

    Args:
        frames: in any order.
        processes: how many.
    """
    sources: dict[tuple[str, str], list[int]] = {}
    for position, frame in enumerate(frames):
        sources.setdefault(sort_key(frame)[:2], []).append(position)
    loads = [(0, process) for process in range(processes)]
    dealt: list[list[int]] = [[] for _ in range(processes)]
    for positions in sorted(sources.values(), key=len, reverse=True):  # stable: those of one size stay in order
        count, process = heapq.heappop(loads)
        dealt[process] += positions
        heapq.heappush(loads, (count + len(positions), process))
    return [sorted(own) for own in dealt]


class Processes:
    """All processes of this run, as a context; of one process it does nothing."""

    def __init__(self) -> None:
        self._group: Any = None

    def __enter__(self) -> "Processes":
        if PartialState().num_processes > 1:
            self._group = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
        return self

    def __exit__(self, *_: object) -> None:
        if self._group is not None:
            distributed.destroy_process_group(self._group)

    def gather(self, work: Callable[[], T]) -> list[T]:
        """Do something in every process; the results of all by rank.

        Raises:
            UserError: what one of them raised, in all of them, so that none waits for it in vain.
        """
        if self._group is None:
            return [work()]
        result, problem, path = [], "", None
        try:
            result = [work()]
        except UnreadableFrameError as error:
            problem, path = str(error), error.path
        except UserError as error:
            problem = str(error)
        answers: list = [None] * distributed.get_world_size()
        distributed.all_gather_object(answers, (result, problem, path), group=self._group)
        for _, told, unreadable in answers:
            if unreadable is not None:
                raise UnreadableFrameError(unreadable, told)
            if told:
                raise UserError(told)
        return [each for results, _, _ in answers for each in results]

"""Which of several near-duplicates is kept, and which are left out in its favor.

A frame is left out only for a frame that it resembles itself: pairs are not chained (a like b, b like c, therefore a
like c), because over a slowly changing scene such chains join everything with everything. In manifest order, the first
frame that is not yet left out is kept and takes all that resemble it in other videos.

Splits: held-out frames come first, and a train frame that resembles any held-out frame, kept or not, is left out.
A cluster is what is left out in favor of one representative, directly or through one more step: a train frame through
a held-out frame that is itself left out, or an embedding's match through a frame that had taken others by hash.
"""

from dataclasses import dataclass

import numpy as np

from training.corpus.duplicates.neighbors import Neighbors


@dataclass(frozen=True)
class Choice:
    """For every frame, in favor of which it is left out.

    Attributes:
        favored: int64 (N,), a frame; -1: it is kept.
        distance: float32 (N,), to that frame.
        method: int8 (N,), position of the comparison's name in `methods`.
        methods: names of the comparisons so far.
    """

    favored: np.ndarray
    distance: np.ndarray
    method: np.ndarray
    methods: list[str]

    @classmethod
    def nothing(cls, count: int) -> "Choice":
        """Every frame is kept."""
        return cls(np.full(count, -1, np.int64), np.zeros(count, np.float32), np.zeros(count, np.int8), [])

    def representatives(self) -> np.ndarray:
        """The frame that stands for each frame in the end, int64 (N,); its own number where it is kept."""
        own = np.arange(len(self.favored))
        final = np.where(self.favored >= 0, self.favored, own)
        while True:
            further = np.where(self.favored[final] >= 0, self.favored[final], final)
            if np.array_equal(further, final):
                return final
            final = further

    def leave_out(self, frames: np.ndarray, distances: np.ndarray, favored: int) -> None:
        """Leave frames out in favor of one, by the latest comparison."""
        self.favored[frames] = favored
        self.distance[frames] = distances
        self.method[frames] = len(self.methods) - 1


def choose(choice: Choice, neighbors: Neighbors, held_out: np.ndarray) -> None:
    """Leave out further frames, in place.

    Args:
        choice: of earlier comparisons, if any; what they left out stays so.
        neighbors: of the frames.
        held_out: bool (N,).
    """
    choice.methods.append(neighbors.method)
    candidates = neighbors.candidates
    held, train = candidates[held_out[candidates]], candidates[~held_out[candidates]]
    _take_turns(choice, neighbors, held, held_out)
    nearest = np.full(len(held_out), np.inf, np.float32)
    for frame in held.tolist():
        found, distances = neighbors.near(frame)
        new = ~held_out[found] & (distances < nearest[found])
        # What an earlier comparison left out stays with the frame that it was left out for.
        new &= (choice.favored[found] < 0) | (choice.method[found] == len(choice.methods) - 1)
        nearest[found[new]] = distances[new]
        choice.leave_out(found[new], distances[new], frame)
    _take_turns(choice, neighbors, train, ~held_out)


def _take_turns(choice: Choice, neighbors: Neighbors, frames: np.ndarray, eligible: np.ndarray) -> None:
    for frame in frames.tolist():
        if choice.favored[frame] >= 0:
            continue
        found, distances = neighbors.near(frame)
        open_ = eligible[found] & (choice.favored[found] < 0) & (found != frame)
        choice.leave_out(found[open_], distances[open_], frame)

"""Which frames lie in which shard: arithmetic on rows, so that nothing has to be kept per frame."""

from dataclasses import dataclass
from pathlib import Path

from training.sampling import Groups


@dataclass(frozen=True)
class Shard:
    """One file: neighbouring rows of one view of all frames at one size."""

    size: int  # pixels of the student
    turn: int  # which of the fixed views
    index: int
    start: int  # first row, see `Groups.part_at`
    stop: int  # behind the last row

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def name(self) -> str:
        """Path in the cache."""
        return f"{self.size}px/view{self.turn}/{self.index:06d}.safetensors"

    def path(self, folder: Path) -> Path:
        """Path of the file."""
        return folder / self.name


class Layout:
    """The shards of one size of the student. Frames that share a view are never divided between two shards.

    Args:
        groups: the frames that may come.
        size: pixels of the student.
        rows_per_shard: about how many rows a shard has; at least as many as frames share a view.
    """

    def __init__(self, groups: Groups, size: int, rows_per_shard: int) -> None:
        self._groups, self.size, self.rows_per_shard = groups, size, rows_per_shard
        self.num_rows = groups.num_rows
        last_part = groups.part_at(self.num_rows - 1)[0] if self.num_rows else -1
        self.num_shards = last_part // rows_per_shard + 1 if self.num_rows else 0

    def shard(self, turn: int, index: int) -> Shard:
        """Shard `index` of a view."""
        return Shard(self.size, turn, index, self._start(index), self._start(index + 1))

    def locate(self, number: int) -> tuple[Shard, int]:
        """The shard of a view number (see `ViewBatch.numbers`), and the row in it."""
        turn, frame = divmod(number, self._groups.num_frames)
        row = self._groups.row_of(frame)
        shard = self.shard(turn, self._groups.part_at(row)[0] // self.rows_per_shard)
        return shard, row - shard.start

    def _start(self, index: int) -> int:
        """The first row at or behind `index * rows_per_shard` with which a part begins."""
        row = min(index * self.rows_per_shard, self.num_rows)
        if row == self.num_rows:
            return row
        first, part = self._groups.part_at(row)
        return row if first == row else first + len(part.frames)

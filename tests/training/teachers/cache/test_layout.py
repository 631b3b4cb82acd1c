import numpy as np
import pytest

from training.corpus.segments import LeftOut, cut_segments
from training.sampling import Groups
from training.teachers.cache.layout import Layout, Shard

NOTHING = LeftOut(np.zeros(0, np.int64), np.zeros(0, np.int64))


def groups_of(lengths: list[int], size: int, stride: int = 0) -> Groups:
    return Groups(cut_segments(np.array(lengths), np.ones(len(lengths)), NOTHING), size, stride)


def test_shards_by_hand() -> None:
    # Parts begin with rows 0, 2, 4 (frame 4 alone), 5: rows 4 and 5 begin the second and third shard of about 3.
    layout = Layout(groups_of([5, 2], 2), 32, 3)
    assert [layout.shard(1, index) for index in range(layout.num_shards)] == [
        Shard(32, 1, 0, 0, 4),
        Shard(32, 1, 1, 4, 7),
    ]
    assert layout.shard(1, 0).name == "32px/view1/000000.safetensors"
    # Frame 3 is the second of the group (1, 3), row 3; frame 5 of view 1 is row 5, the second of its shard.
    assert layout.locate(3) == (Shard(32, 0, 0, 0, 4), 3)
    assert layout.locate(7 + 5) == (Shard(32, 1, 1, 4, 7), 1)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("stride", [0, 2])
@pytest.mark.parametrize("rows", [3, 4, 10, 1000])
def test_every_view_lies_in_one_shard_beside_its_clip(size: int, stride: int, rows: int) -> None:
    lengths = np.random.default_rng(rows + size).integers(1, 20, 15).tolist()
    groups = groups_of(lengths, size, stride)
    layout = Layout(groups, 64, rows)
    shards = [layout.shard(0, index) for index in range(layout.num_shards)]
    assert [shard.start for shard in shards[1:]] == [shard.stop for shard in shards[:-1]]
    assert (shards[0].start, shards[-1].stop) == (0, groups.num_rows)
    assert min(map(len, shards)) > 0
    places = {layout.locate(number) for number in range(groups.num_frames)}
    assert places == {(shard, row) for shard in shards for row in range(len(shard))}
    for number in range(groups.draws):
        for part in groups.draw(number, 0):
            found = [layout.locate(frame) for frame in part.frames]
            assert [row for _, row in found] == list(range(found[0][1], found[0][1] + len(found)))
            assert len({shard for shard, _ in found}) == 1

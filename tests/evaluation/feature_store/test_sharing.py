from pathlib import Path

from evaluation.datasets import FrameReference
from evaluation.feature_store.sharing import deal
from evaluation.frames import CorpusFrame


def test_whole_files_the_largest_first() -> None:
    videos = {
        name: [FrameReference(Path(name), index) for index in range(count)] for name, count in (("a", 3), ("b", 7))
    }
    clip = [CorpusFrame(Path("corpus"), "c", index) for index in range(5)]
    frames = [*videos["a"], *clip, *videos["b"]]
    # b (7) to the first, c (5) and a (3) to the second
    assert deal(frames, 2) == [list(range(8, 15)), list(range(8))]
    assert deal(frames, 1) == [list(range(15))]
    assert deal(frames[:3], 3) == [[0, 1, 2], [], []]


def test_nothing_is_lost_or_dealt_twice() -> None:
    frames = [FrameReference(Path(f"{number % 37}.mp4"), number) for number in range(500)]
    dealt = deal(frames, 8)
    assert sorted(position for own in dealt for position in own) == list(range(500))
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 14  # one file

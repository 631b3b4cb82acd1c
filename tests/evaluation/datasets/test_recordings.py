from pathlib import Path

import numpy as np
import pytest

from evaluation.datasets.recordings import Recording, by_case, labeled_video, open_images, open_recording, open_video
from tests.evaluation.datasets.layouts import write_images, write_mp4
from training.errors import UserError


def test_entries_by_case(tmp_path: Path) -> None:
    for name in ("Video1.MP4", "video02.mp4", "._video03.mp4", "video04.txt"):
        (tmp_path / name).touch()
    found = by_case("d", tmp_path, r"video0*(\d+)\.mp4", lambda number: f"video{int(number):02d}")
    assert found == {"video01": tmp_path / "Video1.MP4", "video02": tmp_path / "video02.mp4"}
    assert by_case("d", tmp_path / "none", r"(.*)", str) == {}
    (tmp_path / "video2.mp4").touch()
    with pytest.raises(UserError, match=r"d: '.*video02.mp4' and '.*video2.mp4' are both of case '2'"):
        by_case("d", tmp_path, r"video0*(\d+)\.mp4", str)


def test_headers_of_videos(tmp_path: Path) -> None:
    video = write_mp4(tmp_path / "a.mp4", 7, 25)
    assert open_video("d", video, 25) == open_video("d", video, None) == Recording(video, 25.0, 7)
    with pytest.raises(UserError, match=r"a.mp4' runs at 25 frames/s, its labels count 50; put the original video"):
        open_video("d", video, 50)
    video.write_bytes(b"no video")
    with pytest.raises(UserError, match=r"a.mp4' cannot be read as a video"):
        open_video("d", video, 25)


def test_videos_come_before_frames(tmp_path: Path) -> None:
    video = write_mp4(tmp_path / "a.mp4", 4)
    write_images(tmp_path / "a", ["0.png", "1.png"])
    folders = {"a": tmp_path / "a"}
    assert open_recording("d", "a", {"a": video}, folders, video, 25, 4).path == video
    assert list(open_recording("d", "a", {}, folders, video, 25, 50).images) == [0, 25]
    with pytest.raises(UserError, match=r"case 'b' of the split has neither a video such as '.*a.mp4' nor a folder"):
        open_recording("d", "b", {"a": video}, folders, video, 25, 4)


@pytest.mark.parametrize(
    ("names", "length", "frames"),
    [
        ([f"{i:05d}.png" for i in range(4)], 100, [0, 25, 50, 75]),  # one a second from 0
        ([f"img_{i}.jpg" for i in range(1, 11)], 250, list(range(0, 250, 25))),  # from 1; 10 comes after 9
        ([f"{i}.jpg" for i in range(5)], 101, [0, 25, 50, 75, 100]),  # the last second has only begun
        ([f"{i}.jpg" for i in range(4)], 101, [0, 25, 50, 75]),  # and some tools leave its frame out
        ([f"{i}.jpg" for i in range(6)], 6, [0, 1, 2, 3, 4, 5]),  # every frame
        ([f"1_{i}.jpg" for i in range(0, 100, 25)], 101, [0, 25, 50, 75]),  # native numbers
        (["1_0.jpg", "1_50.jpg", "1_75.jpg"], 100, [0, 50, 75]),  # one image is missing
    ],
)
def test_numbers_of_images(names: list[str], length: int, frames: list[int], tmp_path: Path) -> None:
    write_images(tmp_path / "a", names)
    (tmp_path / "a" / "notes.txt").touch()
    assert list(open_images("d", tmp_path / "a", length, 25)) == frames


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds no images"),
        (["0.jpg", "last.jpg"], "last.jpg' has no frame number at the end of its name"),
        (["1.jpg", "01.png"], "have the same frame number"),
        # one a second with a gap: taken as native numbers, they would be 25 times too early
        (["0.jpg", "1.jpg", "3.jpg"], r"holds 3 images numbered 0 to 3, which fit the 100 labeled frames neither"),
        (["5.jpg"], "numbered 5 to 5"),
        # half of the frames of a video of 100 at 1 fps do not say where they begin
        (["2.jpg", "3.jpg"], "numbered 2 to 3"),
    ],
)
def test_images_that_fit_no_way(names: list[str], message: str, tmp_path: Path) -> None:
    write_images(tmp_path / "a", names)
    with pytest.raises(UserError, match=message):
        open_images("d", tmp_path / "a", 100, 25)


def lay(recording: Recording, frames: list[int], fps: float = 25) -> tuple[list[int], list[int]]:
    labels = {"phase": np.arange(len(frames))}
    video = labeled_video("d", "a", "train", recording, Path("a.txt"), np.array(frames), labels, fps)
    return video.frames.tolist(), video.labels["phase"].tolist()


def test_labels_on_recordings() -> None:
    assert lay(Recording(Path("a.mp4"), 25, 3), [0, 1, 2, 3]) == ([0, 1, 2], [0, 1, 2])  # the known row too many
    assert lay(Recording(Path("a.mp4"), 25, None), [0, 1]) == ([0, 1], [0, 1])
    assert lay(Recording(Path("a.mp4"), 25, 60), list(range(60)), 1) == ([0, 25, 50], [0, 25, 50])
    with pytest.raises(UserError, match=r"row 4 of 'a.txt' is of frame 3, but 'a.mp4' has 3 frames"):
        lay(Recording(Path("a.mp4"), 25, 3), [0, 1, 2, 3, 4])


def test_labels_on_images() -> None:
    images = {0: Path("a/0.jpg"), 25: Path("a/1.jpg"), 75: Path("a/3.jpg")}
    recording = Recording(Path("a"), 25, images=images)
    video = labeled_video("d", "a", "val", recording, Path("a.txt"), np.arange(70), {"phase": np.arange(70)}, fps=1)
    assert video.frames.tolist() == video.labels["phase"].tolist() == [0, 25]
    assert video.files == (Path("a/0.jpg"), Path("a/1.jpg"))
    with pytest.raises(UserError, match=r"no frame of 'a' is labeled in 'a.txt'"):
        lay(recording, [3, 4])

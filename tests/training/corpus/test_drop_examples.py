"""Pictures of dropped frames: which, how small, and that nothing private can be recognized in them."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from training.corpus.curation import curate
from training.corpus.drop_examples import DropExampleSettings, Dropped, pick_examples
from training.errors import UserError


def pattern(seed: int) -> np.ndarray:
    """Coarse colored blocks with a fine checkerboard on them, uint8 (128, 192, 3)."""
    blocks = np.random.default_rng(seed).integers(60, 200, (4, 6, 3)).astype(np.uint8)
    frame = cv2.resize(blocks, (192, 128), interpolation=cv2.INTER_NEAREST)
    frame[::4, ::4] = 255
    return frame


@pytest.fixture
def dropped(tmp_path):
    """Encodes frames into one file and makes the samples: (reason or None, score, threshold)."""

    def make(*rows: tuple[str, float | None, float | None] | None) -> tuple[list[Dropped | None], Path]:
        samples: list[Dropped | None] = []
        path = tmp_path / "frames.bin"
        with path.open("wb") as spool:
            for number, row in enumerate(rows):
                jpeg = cv2.imencode(".jpg", pattern(number))[1].tobytes()
                offset = spool.tell()
                spool.write(jpeg)
                samples.append(row and Dropped("in", f"{number}.png", float(number), *row, offset, len(jpeg)))
        return samples, path

    return make


def decode(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_weakest_middling_and_clearest_case_of_each_reason(dropped):
    samples, path = dropped(
        ("blur", 9.0, 10.0), None, ("blur", 2.0, 10.0), ("blur", 5.0, 10.0), ("black", 1.0, 10.0), ("blur", 9.9, 10.0)
    )
    found = pick_examples(samples, path, "v", DropExampleSettings())
    assert [(example.reason, example.timestamp, example.score) for example in found] == [
        ("black", 4.0, 1.0),
        ("blur", 5.0, 9.9),
        ("blur", 3.0, 5.0),  # of 9.9, 9, 5 and 2 the third: halves are rounded to even
        ("blur", 2.0, 2.0),
    ]
    assert {(example.video_id, example.input, example.threshold) for example in found} == {("v", "in", 10.0)}
    assert found[0].path == "4.png"


def test_without_scores_spread_over_time(dropped):
    samples, path = dropped(*[("frozen", None, None)] * 5)
    found = pick_examples(samples, path, "v", DropExampleSettings())
    assert [example.timestamp for example in found] == [0.0, 2.0, 4.0]


def test_pictures_are_small_and_show_the_frame(dropped):
    samples, path = dropped(("black", 1.0, 10.0))
    (example,) = pick_examples(samples, path, "v", DropExampleSettings(side=96))
    picture = decode(example.jpeg)
    assert picture.shape == (64, 96, 3)
    assert not example.blurred
    expected = cv2.resize(pattern(0), (96, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(picture.astype(int) - expected).mean() < 12


@pytest.mark.parametrize("reason", ["out_of_body", "screen", "trim"])
def test_what_may_show_people_or_names_is_a_blur(dropped, reason):
    samples, path = dropped((reason, 0.9, 0.5))
    (example,) = pick_examples(samples, path, "v", DropExampleSettings())
    picture = decode(example.jpeg).astype(float)
    assert example.blurred
    assert max(picture.shape) == 96
    # Nothing finer than a sixth of the picture is left: a cell and its neighbor pixel are nearly alike.
    assert np.abs(np.diff(picture, axis=1)).max() < 24
    sharp = pick_examples(samples, path, "v", DropExampleSettings(blurred=()))[0]
    assert np.abs(np.diff(decode(sharp.jpeg).astype(float), axis=1)).max() > 40
    assert not sharp.blurred


def test_a_frame_dropped_beside_a_private_one_is_blurred_whatever_its_reason(dropped):
    samples, path = dropped(("frozen", 0.1, 1.0), ("out_of_body", 0.9, 0.5), None, ("frozen", 0.1, 1.0))
    found = pick_examples(samples, path, "v", DropExampleSettings())
    assert [(example.reason, example.timestamp, example.blurred) for example in found] == [
        ("frozen", 0.0, True),
        ("frozen", 3.0, False),
        ("out_of_body", 1.0, True),
    ]


def test_frames_that_could_not_be_read_have_no_picture(dropped):
    samples, path = dropped(("black", 1.0, 10.0))
    lost = Dropped("in", "x.png", 1.0, "undecodable", None, None, 0, 0)
    assert [each.reason for each in pick_examples([lost, *samples], path, "v", DropExampleSettings())] == ["black"]
    assert pick_examples(samples, path, "v", DropExampleSettings(per_reason=0)) == []


@pytest.mark.parametrize("name", ["per_reason", "per_reason_in_all", "side"])
def test_wrong_settings(name):
    with pytest.raises(UserError, match=f"setting drop_examples.{name}=-1 is too small: it must be at least"):
        DropExampleSettings(**{name: -1})


def test_curation_keeps_them_in_the_journal_up_to_a_number_per_reason(tmp_path, settings, scene, write_still):
    for video in range(4):
        write_still(tmp_path / "data" / f"v{video}_000.png", scene(video))
        for frame in (100, 200):
            write_still(tmp_path / "data" / f"v{video}_{frame:03d}.png", np.zeros((96, 128, 3), np.uint8))
    out = tmp_path / "out"
    # A small shard: several commits share the number.
    curate(
        [tmp_path / "data"],
        out,
        settings(shard_megabytes=0.004, drop_examples=DropExampleSettings(per_reason_in_all=5)),
    )
    tables = [pq.read_table(path) for path in sorted((out / "journal").glob("*/drop_examples.parquet"))]
    assert len(tables) > 1
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["reason"] for row in rows] == ["black"] * 5
    assert {decode(row["jpeg"]).shape for row in rows} == {(64, 85, 3)}
    assert len({(row["video_id"], row["timestamp"]) for row in rows}) == 5

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.backbones import Features
from evaluation.datasets import FrameReference, endoscapes
from evaluation.features import extract_features
from evaluation.frames import decode
from training.errors import UserError


@pytest.fixture
def frames(endoscapes_folder: Path) -> list[FrameReference]:
    return [record.frame for record in endoscapes.scan(endoscapes_folder).records]


def extract(backbones: list[Any], frames: list[Any], dense: list[Any], limit: float = 1.0) -> Any:
    return extract_features(backbones, frames, dense, 64, memory_limit=limit)


def test_each_frame_is_decoded_and_seen_once(frames: list[FrameReference], mean_color: Callable[..., Any]) -> None:
    backbones = [mean_color("one"), mean_color("two")]
    store = extract(backbones, frames + frames[:5], frames[3:7])
    assert [backbone.frames for backbone in backbones] == [len(frames)] * 2
    assert (store.decoded, store.computed) == (len(frames), {"one": len(frames), "two": len(frames)})


def test_rows_belong_to_their_frames(frames: list[FrameReference], mean_color: Callable[..., Any]) -> None:
    store = extract([mean_color()], frames, frames[10:])
    shuffled = [frames[12], frames[2], frames[17]]
    images = np.stack(list(decode(shuffled, 64)))
    expected = mean_color().extract(images)
    assert store.summary("mean color", shuffled) == pytest.approx(expected.summary)
    assert store.mean_dense("mean color", shuffled) == pytest.approx(expected.dense.mean(axis=(2, 3)), abs=1e-6)
    assert store.pooled("mean color", shuffled).shape == (3, 6)
    dense = [frames[17], frames[12]]
    assert store.dense("mean color", dense) == pytest.approx(expected.dense[[2, 0]], abs=1e-3)
    assert store.grid("mean color") == (4, 4)


def test_small_variation_around_a_large_mean_survives_half_precision(
    frames: list[FrameReference], mean_color: Callable[..., Any]
) -> None:
    class Offset(mean_color):  # type: ignore[misc, valid-type]
        def extract(self, images: np.ndarray) -> Features:
            plain = super().extract(images)
            return Features(plain.summary, 500 + 1e-3 * plain.dense)

    stored = extract([Offset()], frames, frames).dense("mean color", frames)
    exact = 500 + 1e-3 * mean_color().extract(np.stack(list(decode(frames, 64)))).dense
    assert np.abs(stored - exact).max() < 0.1 * exact.std()


def test_broken_features_stop_the_run(frames: list[FrameReference], mean_color: Callable[..., Any]) -> None:
    class Broken(mean_color):  # type: ignore[misc, valid-type]
        def extract(self, images: np.ndarray) -> Features:
            plain = super().extract(images)
            return Features(plain.summary * np.nan, plain.dense)

    with pytest.raises(UserError, match="features of 'mean color' hold NaN or infinity"):
        extract([Broken()], frames, [])


def test_memory_limit(frames: list[FrameReference], mean_color: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"features of 1 of 2 backbones need 0.0 GB, more than --memory-limit 1e-06"):
        extract([mean_color("one"), mean_color("two")], frames, frames, limit=1e-6)


def test_nothing_to_do(mean_color: Callable[..., Any]) -> None:
    assert extract([mean_color()], [], []).backbones == {}

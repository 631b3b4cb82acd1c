import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluation.feature_store.plan import FeaturePlan, FeatureRate, measure_rate, plan_features
from evaluation.features import extract_features
from tests.evaluation.feature_store.extraction_process import references


def test_a_plan_says_what_the_run_then_does(
    images: Path, tmp_path: Path, mean_color: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, backbones = references(images), [mean_color("one"), mean_color("two")]
    folder = tmp_path / "features"
    extract_features(backbones[:1], frames[:6], [], 32, memory_limit=1.0, folder=folder, coarse_frames=[])
    asked: tuple[Any, ...] = (backbones, [*frames, *frames], frames[4:7], 32)
    with monkeypatch.context() as patch:
        patch.setattr("evaluation.feature_store.plan.decode", None)  # not a frame is decoded
        plan = plan_features(*asked, folder=folder, coarse_frames=[])
    assert (plan.frames, plan.decoded, plan.missing) == (11, 11, {"one": 7, "two": 11})
    store = extract_features(*asked, memory_limit=1.0, folder=folder, coarse_frames=[])
    assert (store.decoded, store.computed) == (plan.decoded, plan.missing)
    after = plan_features(*asked, folder=folder, coarse_frames=[])
    assert (after.decoded, after.missing, after.sample) == (0, {"one": 0, "two": 0}, ())


def test_without_a_folder_everything_is_missing(images: Path, mean_color: Callable[..., Any]) -> None:
    plan = plan_features([mean_color()], references(images), [], 32)
    assert (plan.frames, plan.decoded, plan.missing) == (11, 11, {"mean color": 11})


def test_a_plan_leaves_the_folder_as_it_is(images: Path, tmp_path: Path, mean_color: Callable[..., Any]) -> None:
    frames, folder = references(images), tmp_path / "features"
    assert plan_features([mean_color()], frames, [], 32, folder=folder).decoded == 11
    assert not folder.exists()
    extract_features([mean_color()], frames, [], 32, memory_limit=1.0, folder=folder)
    [part] = folder.rglob("*.safetensors")
    part.write_bytes(part.read_bytes()[:-1])
    assert plan_features([mean_color()], frames, [], 32, folder=folder).decoded == 11
    assert part.exists()


def test_estimate_by_hand() -> None:
    plan = FeaturePlan(frames=10, decoded=8, missing={"one": 8, "two": 2}, sample=())
    assert plan.seconds(FeatureRate(0.5, {"one": 1.0, "two": 10.0})) == 8 * 0.5 + 8 * 1 + 2 * 10


def test_rates_are_measured(images: Path, mean_color: Callable[..., Any]) -> None:
    class Slow(mean_color):  # type: ignore[misc, valid-type]
        def extract(self, pixels: Any) -> Any:
            time.sleep(0.002 * len(pixels))
            return super().extract(pixels)

    plan = plan_features([Slow()], references(images), [], 32)
    rate = measure_rate([Slow()], plan.sample, 32)
    assert len(plan.sample) == 11
    assert 0.002 <= rate.backbones["mean color"] < 0.02
    assert rate.decode > 0

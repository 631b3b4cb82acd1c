import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.errors import UserError
from training.teachers.cache.record import read_record, refuse_differences

KEY: dict[str, Any] = {
    "corpus": {"fingerprint": "aa", "duplicates_sha256": None},
    "views": {"seed": 0, "views_per_frame": 3, "crop_scale": (0.4, 1.0), "pixels": {"64": 64, "96": 96}},
    "teachers": {"vit": {"weights_sha256": "11", "tokens": {"dense": True}}, "cnn": {"weights_sha256": "22"}},
}


def changed(change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    key = json.loads(json.dumps(KEY))
    change(key)
    return key


def test_a_run_may_want_less_than_a_cache_holds() -> None:
    refuse_differences(Path("c"), "in this run", changed(lambda key: None), KEY)
    for less in (
        lambda key: key["teachers"].pop("cnn"),
        lambda key: key["views"]["pixels"].pop("96"),
        lambda key: key["views"].update(views_per_frame=2),
    ):
        refuse_differences(Path("c"), "in this run", KEY, changed(less))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda key: key["corpus"].update(fingerprint="bb"), "corpus.fingerprint: aa in the cache, bb in this run"),
        (lambda key: key["corpus"].update(duplicates_sha256="d"), "corpus.duplicates_sha256: None in the cache, d in"),
        (lambda key: key["views"].update(seed=1), "views.seed: 0 in the cache, 1 in this run"),
        (lambda key: key["views"].update(views_per_frame=4), "views.views_per_frame: 3 in the cache, 4 in this run"),
        (
            lambda key: key["views"].update(crop_scale=[0.5, 1]),
            r"views.crop_scale: \[0.4, 1.0\] in the cache, \[0.5, 1\]",
        ),
        (lambda key: key["views"]["pixels"].update({"128": 128}), r"views.pixels.128: \(absent\) in the cache, 128 in"),
        (lambda key: key["teachers"]["vit"].update(weights_sha256="12"), "vit.weights_sha256: 11 in the cache, 12 in"),
        (
            lambda key: key["teachers"]["cnn"].update(tokens={"dense": True}),
            r"cnn.tokens.dense: \(absent\) in the cache",
        ),
    ],
)
def test_every_difference_is_named(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    with pytest.raises(
        UserError, match=f"feature cache 'c' is of other settings: .*{message}.* Repeat its settings, or"
    ):
        refuse_differences(Path("c"), "in this run", KEY, changed(change))


def test_broken_records_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"holds no feature cache \(no cache.json\): write it with accelerate launch -m"
    ):
        read_record(tmp_path)
    for content, message in (
        ("{", "cache.json' is damaged .*: delete the cache and write it anew"),
        ("[]", "cache.json' is damaged"),
        ('{"schema_version": 9}', "cache.json' is of version 9, this program reads 1: write it anew"),
    ):
        (tmp_path / "cache.json").write_text(content)
        with pytest.raises(UserError, match=message):
            read_record(tmp_path)

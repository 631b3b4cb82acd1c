from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from training.errors import UserError
from training.teachers import fetching, load_teacher
from training.teachers.fetching import fetch_teacher

COMMIT = "0123456789abcdef0123456789abcdef01234567"  # of org/dinov2 on the loopback Hub


@pytest.mark.parametrize("asked", ["org/dinov2", f"org/dinov2@{COMMIT}"])
def test_what_was_fetched_loads_without_a_network(
    asked: str, loopback_hub: list[str], model_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    got = fetch_teacher(asked)
    files = list(model_folder("dinov2").iterdir())
    assert (got.repo, got.commit) == ("org/dinov2", COMMIT)
    assert got.num_bytes == sum(file.stat().st_size for file in files)
    assert got.licence == "not stated: see its model card"
    fetched = sorted(path.rpartition("/")[2] for path in loopback_hub if path.startswith("GET /org/dinov2/resolve/"))
    assert fetched == sorted(file.name for file in files)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    teacher = load_teacher("org/dinov2", revision=COMMIT if "@" in asked else None)
    assert teacher.identity()["revision"] == COMMIT
    assert fetch_teacher(asked) == got  # all of it is there


def test_nothing_is_loaded_twice(loopback_hub: list[str]) -> None:
    fetch_teacher("org/dinov2")
    loopback_hub.clear()
    fetch_teacher("org/dinov2")
    assert not [path for path in loopback_hub if path.startswith("GET /org/dinov2/resolve/")]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("org/gated", r"teacher 'org/gated': org/gated is gated, .*accept its terms at http://127.0.0.1:"),
        ("org/gone", r"there is no folder and no public Hub model called 'org/gone'"),
        ("org/dinov2@v9", r"org/dinov2 has no revision 'v9'"),
        ("endovit", r"teacher 'endovit' \(egeozsoy/EndoViT\) cannot be loaded: its Hub file is a pickled"),
        ("dinov2-smal", r"unknown teacher 'dinov2-smal'\. Did you mean 'dinov2-small'\?"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence(asked: str, message: str, loopback_hub: list[str]) -> None:
    with pytest.raises(UserError, match=message) as error:
        fetch_teacher(asked)
    assert "\n" not in str(error.value)


def test_offline_is_one_sentence() -> None:
    with pytest.raises(
        UserError,
        match=r"dinov2-small is not in the local cache, .* switches the Hub off; run `python -m training\.tea",
    ):
        fetch_teacher("dinov2-small")


def test_a_folder_need_not_be_fetched(model_folder: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match=r"is a folder on this machine, so there is nothing to fetch"):
        fetch_teacher(str(model_folder("dinov2")))


def test_a_repository_without_a_model(loopback_hub: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "readme.json").write_text("{}")
    monkeypatch.setattr(fetching, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(UserError, match=rf"org/dinov2 at {COMMIT} has no config\.json and no weights \(\*\.safetens"):
        fetch_teacher("org/dinov2")

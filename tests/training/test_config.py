from dataclasses import dataclass, field
from pathlib import Path

import pytest

from training.config import load_config, save_config, settings_parser, split_overrides, to_plain, to_yaml
from training.errors import UserError


@dataclass(frozen=True)
class Inner:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    many: dict[str, Inner] = field(default_factory=dict)
    mode: str = "a"

    def __post_init__(self) -> None:
        if self.mode == "forbidden":
            raise UserError("mode must not be 'forbidden'")


def test_file_then_overrides(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("inner: {lr: 1}\nmany: {x: {}}\n")
    config = load_config(Outer, file, ["inner.lr=2", "many.x.lr=3"])
    assert config == Outer(inner=Inner(lr=2.0), many={"x": Inner(lr=3.0)})
    assert to_plain(config)["many"]["x"]["lr"] == 3.0


def test_the_help_of_a_command_ends_with_the_defaults() -> None:
    text = settings_parser("a.command", Outer, description="What it does.", heading="settings").format_help()
    assert text.startswith("usage: python -m a.command [-h]\n\nWhat it does.\n")
    assert text.endswith("settings:\n\ninner:\n  lr: 0.1\n  betas:\n  - 0.9\n  - 0.99\nmany: {}\nmode: a\n")
    assert to_yaml(Outer()) == text.partition("settings:\n\n")[2]


def test_words_that_set_something() -> None:
    words = ["videos", "mode=b", "inner.lr=1", "/data/odd=name", "2=x", "many.x.lr=3", "hf://a/b?c=d"]
    overrides, others = split_overrides(words)
    assert overrides == ["mode=b", "inner.lr=1", "many.x.lr=3"]
    assert others == ["videos", "/data/odd=name", "2=x", "hf://a/b?c=d"]


def test_a_folder_of_such_a_name_sets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mode=b").mkdir()
    assert split_overrides(["mode=b", "mode=c"]) == (["mode=c"], ["mode=b"])


def test_saved_settings_load_again(tmp_path: Path) -> None:
    config = load_config(Outer, None, ["mode=b", "many.x.betas=[0.5,0.6]"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(Outer, tmp_path / "config.yaml", []) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inner.lrr=3", r"override 'inner\.lrr=3': Key 'lrr' not in 'Inner'.*Did you mean: 'lr'"),
        ("many.x.lrr=3", r"override 'many\.x\.lrr=3': Key 'lrr' not in 'Inner'"),
        ("inner.lr=high", r"override 'inner\.lr=high': Value 'high' of type 'str' could not be converted to Float"),
        ("mode", r"override 'mode' is not of the form key=value"),
        ("--mode=b", r"override '--mode=b' is not of the form key=value"),
        ("mode=forbidden", r"mode must not be 'forbidden'"),
    ],
)
def test_wrong_override_is_one_sentence(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        load_config(Outer, None, [override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"config file '.*recipe\.yaml' does not exist"),
        ("inner: {lrr: 1}", r"config file '.*recipe\.yaml': Key 'lrr' not in 'Inner'"),
        ("inner: [", r"config file '.*recipe\.yaml': "),
    ],
)
def test_wrong_file_is_one_sentence(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "recipe.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=message):
        load_config(Outer, file, [])

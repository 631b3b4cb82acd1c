"""Typed settings: frozen dataclasses, a YAML file that holds only what differs, and dotted overrides."""

import argparse
import re
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from training.errors import UserError

C = TypeVar("C")


def load_config(schema: type[C], file: str | Path | None, overrides: list[str]) -> C:
    """Build a settings object from its dataclass, a YAML file and `key=value` overrides (dotted keys, later wins).

    Args:
        schema: a frozen dataclass; its fields are the only keys allowed, its `__post_init__` may validate.
        file: YAML file with the keys that differ from the defaults, or `None`.
        overrides: words such as `optimizer.lr=1e-4`.

    Raises:
        UserError: a missing or broken file, an unknown key (with the closest right one), a value of the wrong type, a
            word without `=`, or whatever `__post_init__` refuses.
    """
    config = merge_config(schema, file, overrides)
    try:
        return cast(C, OmegaConf.to_object(config))
    except OmegaConfBaseException as error:
        raise UserError(f"settings: {_one_line(error)}") from error


def merge_config(schema: type, file: str | Path | None, overrides: list[str]) -> Any:
    """The settings before they are complete and before `__post_init__`; attributes by name. See `load_config`."""
    config = OmegaConf.structured(schema)
    if file is not None:
        path = Path(file)
        if not path.is_file():
            raise UserError(f"config file {str(path)!r} does not exist")
        try:
            config = OmegaConf.merge(config, OmegaConf.load(path))
        except (OmegaConfBaseException, YAMLError, ValueError) as error:
            raise UserError(f"config file {str(path)!r}: {_one_line(error)}") from error
    for word in overrides:
        key, equals, _ = word.partition("=")
        if not equals or not key or key.startswith("-"):
            raise UserError(f"override {word!r} is not of the form key=value")
        try:
            config = OmegaConf.merge(config, OmegaConf.from_dotlist([word]))
        except (OmegaConfBaseException, YAMLError, ValueError) as error:
            raise UserError(f"override {word!r}: {_one_line(error)}") from error
    return config


def settings_parser(
    command: str, schema: type[Any], *, description: str, heading: str = "settings and their defaults"
) -> argparse.ArgumentParser:
    """The parser of a command that takes settings: its help ends with all of them and their defaults.

    Args:
        command: module of the command, as in `training.curate`.
        schema: a frozen dataclass, as for `load_config`.
        description: what the command does.
        heading: of the settings.
    """
    return argparse.ArgumentParser(
        prog=f"python -m {command}",
        description=description,
        epilog=f"{heading}:\n\n{to_yaml(schema)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def split_overrides(words: list[str]) -> tuple[list[str], list[str]]:
    """The words of the form key=value, and the others; a file or folder of such a name is no override."""
    overrides = [word for word in words if re.match(r"[A-Za-z_][\w.]*=", word) and not Path(word).exists()]
    return overrides, [word for word in words if word not in overrides]


def to_yaml(config: Any) -> str:
    """The resolved settings, or the defaults of a settings class, as YAML."""
    return OmegaConf.to_yaml(OmegaConf.structured(config), resolve=True)


def to_plain(config: Any) -> dict[str, Any]:
    """The settings as nested plain dictionaries, ready for JSON or YAML."""
    return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.structured(config), resolve=True, enum_to_str=True))


def save_config(config: Any, path: Path) -> None:
    """Write the resolved settings as YAML."""
    path.write_text(to_yaml(config), encoding="utf-8")


def _one_line(error: Exception) -> str:
    """The part of an OmegaConf message that a user needs: its sentence and the full key."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("object_type", "reference_type"))]
    return "; ".join(kept)

"""Prompts by class, the shipped ones among them: `evaluation/prompts/<dataset>_<target>.json`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluation.datasets.samples import Target
from training.errors import UserError

PROMPTS = Path(__file__).resolve().parents[1] / "prompts"


@dataclass(frozen=True)
class Prompts:
    """What stands for each class in words.

    Attributes:
        templates: with a {} for a phrase.
        classes: phrases by class; a prompt is every template with every phrase.
        opposites: phrases by class that say it is not so; only of classes for which that can be seen.
        sha256: of the file.
    """

    templates: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]
    opposites: Mapping[str, tuple[str, ...]]
    sha256: str

    def of(self, name: str) -> list[str]:
        """The prompts of a class."""
        return self._fill(self.classes[name])

    def against(self, name: str) -> list[str]:
        """The prompts of a class's opposite; none if it has none."""
        return self._fill(self.opposites.get(name, ()))

    def _fill(self, phrases: tuple[str, ...]) -> list[str]:
        return [template.replace("{}", phrase) for template in self.templates for phrase in phrases]


def load_prompts(dataset: str, target: Target, folder: Path = PROMPTS) -> Prompts | None:
    """The prompts for a target of a dataset; None if there are none.

    The file is `{"source": TEXT, "templates": [...], "classes": {NAME: [PHRASE, ...]}, "opposites": {...}}`, the last
    of which may be left out.

    Raises:
        UserError: a file that is not understood, or a class of the target that it does not name.
    """
    file = folder / f"{dataset}_{target.name}.json"
    if not file.exists():
        return None
    text = file.read_bytes()
    try:
        content = json.loads(text)
        templates = tuple(content["templates"])
        classes, opposites = (
            {name: tuple(phrases) for name, phrases in group.items()}
            for group in (content["classes"], content.get("opposites", {}))
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"prompts {str(file)!r} are not a JSON object with 'templates' and 'classes' ({error!r})"
        ) from error
    if not templates or not all("{}" in template for template in templates):
        raise UserError(f"prompts {str(file)!r} need templates, each with a {{}} for the phrase")
    missing = [name for name in target.classes if not classes.get(name)]
    if missing:
        raise UserError(
            f"prompts {str(file)!r} have no phrase for the class {missing[0]!r} of {target.name}; "
            f"named are {', '.join(classes)}"
        )
    return Prompts(templates, classes, opposites, hashlib.sha256(text).hexdigest())

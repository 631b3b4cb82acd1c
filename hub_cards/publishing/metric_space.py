"""A metric as a Space in the layout of `evaluate`: its module, an app that tries it, what to install, and the card."""

import ast
import json
import sys
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import yaml
from packaging.version import Version

from hub_cards.hub_folder import README
from hub_cards.publishing.metric_app import EXAMPLE
from training.errors import UserError

APP, REQUIREMENTS = "app.py", "requirements.txt"
_APP_SOURCE = Path(__file__).with_name("metric_app.py")
_SDK = "6.31.0"  # of Gradio, the version that the app was run with
_LICENCE = "apache-2.0"  # of this project, whose code it is


def metric_files(folder: Path, repo_id: str) -> dict[str, Path | bytes]:
    """Path in the Space -> file or content.

    Args:
        folder: of the metric: NAME/NAME.py and README.md.
        repo_id: of the Space.

    Raises:
        UserError: the card has no example to begin with, or the module imports what a Space cannot install.
    """
    name = folder.resolve().name
    module = folder / f"{name}.py"
    front = {
        "title": name.replace("_", " "),
        "sdk": "gradio",
        "sdk_version": _SDK,
        "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",  # the Hub's 3.10 is too old
        "app_file": APP,
        "license": _LICENCE,
        "tags": ["evaluate", "metric", "surgery"],
        "pinned": False,
    }
    card = (folder / README).read_text(encoding="utf-8")
    text = card.replace(f"evaluation/metrics/{name}", repo_id).replace("  # works offline", "")  # from the Hub not
    example = {"metric": name, "arguments": read_example(card, str(folder / README))}
    return {
        README: f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n{text}".encode(),
        module.name: module,
        APP: _APP_SOURCE,
        EXAMPLE: (json.dumps(example) + "\n").encode(),
        REQUIREMENTS: "".join(f"{each}\n" for each in requirements(module)).encode(),
    }


def read_example(card: str, where: str) -> dict[str, Any]:
    """Name -> value of the arguments in the card's first Python example that calls `compute`.

    Args:
        card: Markdown.
        where: file of the card, for messages.

    Raises:
        UserError: there is none, or an argument is not written out as a value.
    """
    for block in card.split("```python\n")[1:]:
        try:
            tree = ast.parse(block.partition("```")[0])
        except SyntaxError as error:
            raise UserError(f"{where} has a Python example that is no Python: {error.msg}") from error
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "compute":
                if node.args or not all(each.arg for each in node.keywords):
                    raise UserError(f"{where} calls compute without names; write each argument as name=value")
                return {str(each.arg): _value(each.value, f"{where}: {each.arg}") for each in node.keywords}
    raise UserError(f"{where} has no Python example with metric.compute(...), with which the Space's page begins")


def _value(node: ast.expr, where: str) -> Any:
    """Of a list, a quotient such as 1 / 3, or a literal."""
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(each, where) for each in node.elts]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _value(node.left, where) / _value(node.right, where)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise UserError(f"{where} of the example is {ast.unparse(node)!r}; write its value out") from error


def requirements(module: Path) -> list[str]:
    """What the module imports from others, from the version installed here, which loads it, to the next major one.

    Raises:
        UserError: it imports what belongs to no package, such as a module of this project.
    """
    tree = ast.parse(module.read_text(encoding="utf-8"))
    names = {"evaluate"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    packages = []
    for name in sorted(names - sys.stdlib_module_names):
        if name not in _packages():
            raise UserError(
                f"{str(module)!r} imports {name!r}, which is in no installed package: a Space cannot have it"
            )
        packages.append(_packages()[name][0])
    return [f"{package}{_range(version(package))}" for package in sorted(set(packages))]


@cache
def _packages() -> dict[str, list[str]]:
    """Name in an import -> packages that hold it; looking through all of them takes a second."""
    return dict(packages_distributions())


def _range(installed: str) -> str:
    """From this version to before the next that may break: the next major one, or the next minor one of 0.x."""
    found = Version(installed)
    following = str(found.major + 1) if found.major else f"0.{found.minor + 1}"
    return f">={found.public},<{following}"

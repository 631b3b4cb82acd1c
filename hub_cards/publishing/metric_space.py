"""A metric as a Space in the layout of `evaluate`: its module, an app that tries it, what to install, and the card."""

import ast
import sys
from pathlib import Path

import yaml

from hub_cards.hub_folder import README

APP, REQUIREMENTS = "app.py", "requirements.txt"
_SDK = "3.50.2"  # of Gradio, the last that the widget of evaluate 0.4 works with
_LICENCE = "apache-2.0"  # of this project, whose code it is


def metric_files(folder: Path, repo_id: str) -> dict[str, Path | bytes]:
    """Path in the Space -> file or content.

    Args:
        folder: of the metric: NAME/NAME.py and README.md.
        repo_id: of the Space.
    """
    name = folder.resolve().name
    module = folder / f"{name}.py"
    front = {
        "title": name.replace("_", " "),
        "sdk": "gradio",
        "sdk_version": _SDK,
        "app_file": APP,
        "license": _LICENCE,
        "tags": ["evaluate", "metric", "surgery"],
        "pinned": False,
    }
    text = (folder / README).read_text(encoding="utf-8").replace(f"evaluation/metrics/{name}", repo_id)
    app = (
        f'"""Try the metric {name} in a browser."""\n\n'
        "import evaluate\nfrom evaluate.utils import launch_gradio_widget\n\n"
        f'launch_gradio_widget(evaluate.load("{repo_id}"))\n'
    )
    return {
        README: f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n{text}".encode(),
        module.name: module,
        APP: app.encode(),
        REQUIREMENTS: "".join(f"{each}\n" for each in _packages(module)).encode(),
    }


def _packages(module: Path) -> list[str]:
    """What the module imports from others, by the names under which it is installed."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    names = {"evaluate"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return sorted({"sklearn": "scikit-learn"}.get(name, name) for name in names - sys.stdlib_module_names)

"""The page of a metric's Space: its arguments as JSON, begun with an example, what it computes of them, and its card.

It becomes app.py of the Space, beside the metric's module, the card and example.json; nothing else of this project is
there.
"""

import inspect
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import evaluate
    import gradio

EXAMPLE = "example.json"  # {"metric": its name, "arguments": {name: value}}
_LINES = 8  # of a box; longer values scroll


@dataclass(frozen=True)
class Field:
    """One argument of the metric's `compute`."""

    name: str
    text: str  # in JSON, which the page begins with
    hint: str  # what the metric says about it, or nothing
    is_required: bool


def load_metric(folder: Path) -> "evaluate.Metric":
    """The metric that lies in the folder, new for each answer: it collects its input, so two visitors would mix."""
    import evaluate  # here, as it takes seconds and publishing a model does without it

    name = json.loads((folder / EXAMPLE).read_text(encoding="utf-8"))["metric"]
    return evaluate.load(str(folder / f"{name}.py"), keep_in_memory=True)


def fields(folder: Path) -> list[Field]:
    """The arguments of the metric in a folder, each with its value in the example or its default."""
    metric = load_metric(folder)
    example = json.loads((folder / EXAMPLE).read_text(encoding="utf-8"))["arguments"]
    found = []
    for name, parameter in inspect.signature(metric._compute).parameters.items():
        is_required = parameter.default is parameter.empty
        value = example.get(name, None if is_required else parameter.default)
        text = "" if is_required and name not in example else json.dumps(value)
        found.append(Field(name, text, hint(metric.inputs_description, name), is_required))
    return found


def hint(description: str, name: str) -> str:
    """What the description of a metric's inputs, "name: text" and further lines set in, says about one of them."""
    match = re.search(rf"^(?:.*, )?{re.escape(name)}(?:, .*?)?: (.*(?:\n[ \t]+.*)*)", description, re.MULTILINE)
    return " ".join(match[1].split()) if match else ""


def compute(folder: Path, texts: dict[str, str]) -> dict[str, Any]:
    """What the metric in a folder says about the text of each field; numbers that are not defined become `None`.

    Raises:
        ValueError: a text that is empty and may not be, or no JSON, or no list where each sample has an entry; or what
            the metric refuses.
    """
    metric = load_metric(folder)
    arguments = {}
    for field in fields(folder):
        text = texts[field.name].strip()
        if not text and field.is_required:
            raise ValueError(f"{field.name} is empty; it needs a value in JSON")
        if text:
            arguments[field.name] = _parse(field.name, text)
            if field.name in metric.features and not isinstance(arguments[field.name], list):
                raise ValueError(f"{field.name} is no list; it needs one entry for each sample")
    return plain(metric.compute(**arguments))


def _parse(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is no JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error


def plain(value: Any) -> Any:
    """A result as JSON can hold it: arrays become lists, NaN and infinities `None`."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def build_page(folder: Path) -> "gradio.Blocks":
    """The page; its endpoint `/compute` takes the texts of the fields in their order."""
    import gradio  # here, as the rest of this file is of use without it

    shown = fields(folder)

    def answer(*texts: str) -> dict[str, Any]:
        names = (field.name for field in shown)
        try:
            return compute(folder, dict(zip(names, texts, strict=True)))
        except Exception as error:  # whatever it was, the visitor is told
            raise gradio.Error(str(error) or type(error).__name__, duration=None) from error

    title = json.loads((folder / EXAMPLE).read_text(encoding="utf-8"))["metric"]
    card = re.sub(r"\A---\n.*?\n---\n", "", (folder / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    with gradio.Blocks(title=title) as page:
        gradio.Markdown("Every value is JSON. Where a default exists, an empty box means it.")
        with gradio.Row():
            with gradio.Column():
                boxes = [
                    gradio.Textbox(each.text, label=each.name, info=each.hint or None, max_lines=_LINES)
                    for each in shown
                ]
                button = gradio.Button("Compute", variant="primary")
            result = gradio.JSON(label="result")
        gradio.Markdown(card)
        button.click(answer, boxes, result, api_name="compute")
    return page


if __name__ == "__main__":
    build_page(Path(__file__).resolve().parent).launch()

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import evaluate
import pytest
import yaml

from hub_cards.publishing import metric_app, metric_space
from training.errors import UserError

METRICS = Path(__file__).parents[3] / "evaluation" / "metrics"
NAMES = sorted(path.name for path in METRICS.iterdir() if (path / f"{path.name}.py").is_file())
# What the example in each card is worked out to by hand there.
FIGURES = {
    "cvs_score": ("cvs_score", 5 / 6),
    "mean_average_precision": ("mean_average_precision", 5 / 6),
    "mean_iou": ("mean_iou", 1 / 2),
    "phase_recognition": ("strict accuracy", 17 / 24),
    "pitvis_score": ("pitvis_score", 11 / 18),
    "sar_rarp50_score": ("action_score", (5 / 8 * 5 / 6) ** 0.5),
    "segmental": ("edit", 3 / 4),
    "skill_score": ("skill_score", 4 / 5),
    "triplet_average_precision": ("triplet_average_precision", 7 / 9),
}
MEAN_IOU = {"predictions": "[[[0, 1], [1, 1]]]", "references": "[[[0, 0], [1, 255]]]", "num_classes": "2"}
CARD = "# own\n\n```python\nmetric.compute(predictions=[1], references=[1])\n```\n"
MODULE = "import evaluate\n\n\nclass Own(evaluate.Metric):\n    pass\n"


def write_space(folder: Path, name: str) -> Path:
    """The Space of a metric of ours, as it is sent."""
    folder.mkdir()
    for file, content in metric_space.metric_files(METRICS / name, f"org/{name}").items():
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return folder


@pytest.fixture(scope="module")
def spaces(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("spaces")
    return {name: write_space(root / name, name) for name in NAMES}


@pytest.fixture
def own(tmp_path) -> Path:
    """A metric of somebody else."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own.py").write_text(MODULE)
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture
def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("name", NAMES)
def test_the_page_begins_with_the_example_of_the_card(spaces, name):
    texts = {field.name: field.text for field in metric_app.fields(spaces[name])}
    result = metric_app.compute(spaces[name], texts)
    key, figure = FIGURES[name]
    for part in key.split():
        result = result[part]
    assert result == pytest.approx(figure)


@pytest.mark.parametrize("name", NAMES)
def test_every_box_says_what_belongs_into_it(spaces, name):
    fields = metric_app.fields(spaces[name])
    assert [field.name for field in fields][:2] == ["predictions", "references"]
    assert all(field.hint for field in fields)
    example = json.loads((spaces[name] / "example.json").read_text())["arguments"]
    assert {field.name for field in fields if field.is_required} <= example.keys() <= {field.name for field in fields}


def test_the_boxes_of_a_metric(spaces):
    hints = (
        "list of 2-D masks of class ids.",
        "list of 2-D masks of the same sizes.",
        "number of classes; ids are 0 .. num_classes - 1.",
        "reference value that counts nowhere (default 255).",
    )
    texts = (*MEAN_IOU.values(), "255")
    required = (True, True, True, False)
    expected = map(metric_app.Field, (*MEAN_IOU, "ignore_index"), texts, hints, required)
    assert metric_app.fields(spaces["mean_iou"]) == list(expected)


def test_an_empty_box_means_the_default_and_a_filled_one_does_not(spaces):
    folder = spaces["mean_iou"]
    given = {**MEAN_IOU, "references": "[[[0, 0], [1, 7]]]"}
    assert metric_app.compute(folder, {**given, "ignore_index": "7"})["pixels"] == 3
    with pytest.raises(ValueError, match="the reference holds ids outside 0 to 1"):
        metric_app.compute(folder, {**given, "ignore_index": " "})


def test_nested_arguments_reach_the_metric(spaces):
    texts = {field.name: field.text for field in metric_app.fields(spaces["sar_rarp50_score"])}
    masks = {"mask_references": "[[[[0, 1]]], [[[2, 2]]]]", "mask_predictions": "[[[[0, 1]]], [null]]"}
    result = metric_app.compute(spaces["sar_rarp50_score"], {**texts, **masks})
    assert result["mean_iou"] == pytest.approx((1 + 0) / 2)  # the second video has no prediction


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("predictions", "[[0,", "predictions is no JSON: Expecting value in line 1, column 5"),
        ("predictions", "", "predictions is empty; it needs a value in JSON"),
        ("references", "3", "references is no list; it needs one entry for each sample"),
        ("num_classes", "1", "the reference holds ids outside 0 to 0"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(spaces, name, text, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        metric_app.compute(spaces["mean_iou"], {**MEAN_IOU, "ignore_index": "", name: text})


def test_undefined_numbers_are_null(spaces):
    texts = {field.name: field.text for field in metric_app.fields(spaces["sar_rarp50_score"])}
    result = metric_app.compute(spaces["sar_rarp50_score"], texts)
    assert result["segmentation_score"] is None
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_space_installs_what_its_metric_imports(spaces, name):
    lines = (spaces[name] / "requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[a-z]+>=\d+\.\d+\.\d+,<\d+(\.\d+)?", line) for line in lines)
    installed = {line.partition(">")[0] for line in lines}
    assert installed == {"datasets", "evaluate", "numpy"} | ({"scipy"} if name == "sar_rarp50_score" else set())


def test_the_app_needs_nothing_of_this_project(spaces):
    tree = ast.parse((spaces["mean_iou"] / "app.py").read_text())
    froms = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names = {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
    assert (froms | names) - sys.stdlib_module_names == {"evaluate", "gradio"}
    assert "gradio" not in [getattr(each, "name", "") for node in tree.body for each in getattr(node, "names", ())]


def test_settings_of_a_space(spaces):
    front = yaml.safe_load((spaces["mean_iou"] / "README.md").read_text().split("---\n")[1])
    assert front["sdk"] == "gradio"
    assert front["python_version"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert front["app_file"] == "app.py"


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        ("2.4.6", ">=2.4.6,<3"),
        ("0.4.6", ">=0.4.6,<0.5"),
        ("2.14.1+cpu", ">=2.14.1,<3"),
        ("2026.9.0", ">=2026.9.0,<2027"),
    ],
)
def test_ranges_end_before_the_next_version_that_may_break(own, monkeypatch, installed, expected):
    monkeypatch.setattr(metric_space, "version", lambda package: installed)
    assert metric_space.requirements(own / "own.py") == [f"evaluate{expected}"]


def test_packages_by_the_names_under_which_they_are_installed(own):
    (own / "own.py").write_text(f"import os\nfrom sklearn.metrics import f1_score\n{MODULE}")
    names = [line.partition(">")[0] for line in metric_space.requirements(own / "own.py")]
    assert names == ["evaluate", "scikit-learn"]


def test_a_module_that_no_space_can_install_is_refused(own):
    (own / "own.py").write_text(f"from evaluation import metrics\n{MODULE}")
    with pytest.raises(UserError, match=r"own\.py' imports 'evaluation', which is in no installed package: a Space"):
        metric_space.metric_files(own, "org/own")


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("# own\n", r"README\.md has no Python example with metric\.compute\(\.\.\.\), with which"),
        (CARD.replace("predictions=[1]", "[1]"), r"README\.md calls compute without names; write each argument"),
        (CARD.replace("[1]", "**facts", 1), r"README\.md has a Python example that is no Python: "),
        (CARD.replace("predictions=[1]", "**facts"), r"README\.md calls compute without names; write each argument"),
        (CARD.replace("[1]", "[n]", 1), r"README\.md: predictions of the example is 'n'; write its value out"),
    ],
)
def test_a_card_without_a_usable_example_is_refused(own, card, message):
    (own / "README.md").write_text(card)
    with pytest.raises(UserError, match=message):
        metric_space.metric_files(own, "org/own")


def test_values_of_an_example():
    card = CARD.replace("[1]", "[[1 / 4, -2], None, 'a']", 1)
    assert metric_space.read_example(card, "README.md") == {"predictions": [[0.25, -2], None, "a"], "references": [1]}


def request(address: str, body: object = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return str(answer.read().decode())


def predict(address: str, texts: list[str]) -> tuple[str, object]:
    """The event that an app answers with, and what it says."""
    number = json.loads(request(f"{address}/gradio_api/call/compute", {"data": texts}))["event_id"]
    event, data = request(f"{address}/gradio_api/call/compute/{number}").strip().split("\n")[-2:]
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_the_app_runs(spaces, tmp_path, free_port):
    pytest.importorskip("gradio", reason="the app runs where gradio is installed")
    folder = shutil.copytree(spaces["mean_iou"], tmp_path / "space")
    settings = {
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(free_port),
        "GRADIO_ANALYTICS_ENABLED": "0",
    }
    process = subprocess.Popen([sys.executable, "app.py"], cwd=folder, env={**os.environ, **settings})
    address = f"http://127.0.0.1:{free_port}"
    try:
        end = time.monotonic() + 120  # importing gradio takes ten seconds on a busy machine
        while True:
            try:
                page = request(address)
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.2)
        assert "mean_iou" in page
        texts = [*MEAN_IOU.values(), ""]
        event, data = predict(address, texts)
        assert (event, data[0]["mean_iou"]) == ("complete", 0.5)
        event, data = predict(address, ["[", *texts[1:]])
        assert (event, data["error"]) == ("error", "predictions is no JSON: Expecting value in line 1, column 2")
    finally:
        process.terminate()
        process.wait()


def test_a_metric_is_new_for_each_answer(spaces):
    first, second = (metric_app.load_metric(spaces["mean_iou"]) for _ in range(2))
    first.add_batch(predictions=[[[0]]], references=[[[0]]])  # of a visitor whose answer is not there yet
    assert isinstance(second, evaluate.Metric)
    assert second.compute(predictions=[[[0, 1]]], references=[[[0, 1]]], num_classes=2)["pixels"] == 2

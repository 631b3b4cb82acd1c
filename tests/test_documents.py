"""Every code block of README and docs runs, in order, in a folder that holds tiny things under the names they use."""

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_cards.publish import parse as parse_publish
from training.config import load_config
from training.settings import PretrainConfig

from .documents.blocks import Step, commands_of, links_of, steps_of
from .documents.world import make_world

Popen = subprocess.Popen[str]

CHECKOUT = Path(__file__).resolve().parents[1]
RUNNER = CHECKOUT / "tests" / "documents" / "runner.py"
DOCUMENTS = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
SECONDS = 900  # for one document, on a machine that is busy with something else

# Commands that cannot run in a test, by a pattern of the whole command, and why. `check_unrun` looks at them otherwise.
NOT_RUN = {
    r"python3 -m venv .*": "makes a virtual environment; the test runs in one",
    r"pip install .*": "loads packages from the network",
    r"make demo\b.*": "makes a virtual environment and trains for ten minutes",
    r"python -m training\.curate .*engine=ray.*": "needs Ray, an extra of its own; tests/training/corpus/work runs it",
    r"python -m training\.corpus_publish .* --private": "uploads to the Hub",
    r"python -m hub_cards\.publish .*": "uploads to the Hub; tests/hub_cards/test_publish.py does it, on the loopback",
    r"accelerate launch .*recipes/zen_small\.yaml.*": "its teachers are on the Hub, and it trains for days on a GPU",
}
# Commands that run with these words appended, because as they stand they take too long.
PRETRAIN = (
    "max_steps=2 batch_size=2 student.image_size=32 distillation.head_width=16 distillation.calibration_frames=16 "
    "data.held_out_frames=4 data.views_per_frame=1 log.every=1 log.eval_every=2 log.save_every=2 log.plan=false "
    "teachers.efficientnet_lite0.input_size=64 teachers.efficientnet_lite2.input_size=64"
)
SHORTENED = {
    r"accelerate launch .*recipes/small_corpus\.yaml.*": PRETRAIN,  # 4800 steps take three quarters of an hour
    r"python -m evaluation\.benchmark --model .*": "--image-size 64",  # five backbones look at every frame
}
# The same for the commands of `make demo`, by module.
DEMO = {
    "training.corpus.synthetic": "cases_train=6 cases_test=3 seconds=2 width=96 height=96",
    "training.pretrain": PRETRAIN,
    "evaluation.benchmark": "--image-size 64",
}
# What commands and blocks import anyway; loaded once for all documents. Nothing of this project.
PRELOAD = (
    "torch", "torchvision", "transformers.modeling_utils", "transformers.image_processing_backends", "accelerate",
    "datasets", "evaluate", "sklearn.linear_model", "timm", "cv2",
)  # fmt: skip


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; every document gets a copy, so that none depends on what another left."""
    root = tmp_path_factory.mktemp("template")
    make_world(root, CHECKOUT)
    return root


@pytest.fixture
def world(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "world", symlinks=True))


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Popen]:
    """A process in which `PRELOAD` is loaded; see its documentation."""
    # What is read when modules are loaded.
    environment = {
        **os.environ,
        "PYTHONPATH": str(CHECKOUT),
        "HF_HOME": str(tmp_path_factory.mktemp("huggingface")),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",  # threads that spin on a busy machine keep others from their work
        "TOKENIZERS_PARALLELISM": "false",
    }
    with subprocess.Popen(
        [sys.executable, str(RUNNER), *PRELOAD],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_runs(document: Path, world: Path, runner: Popen) -> None:
    steps = [shortened(step) for step in steps_of(document)]
    for step in steps:
        if step.kind == "command" and matches(step.code, NOT_RUN):
            check_unrun(step.code)
    steps = [step for step in steps if step.kind == "python" or not matches(step.code, NOT_RUN)]
    if document.name == "README.md":
        # What it calls VIDEOS and DATA, and all that `make demo` leaves behind.
        (world / "VIDEOS").symlink_to("runs/demo/synthetic")
        (world / "DATA").symlink_to("runs/demo/synthetic")
        steps = demo_commands() + steps
    run_steps(document, steps, world, runner)


def run_steps(document: Path, steps: list[Step], world: Path, runner: Popen) -> None:
    output = world.parent / "output.txt"
    request = {
        "plan": {"document": str(document), "steps": [dataclasses.asdict(step) for step in steps]},
        "folder": str(world),
        "environment": {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DOCUMENT_LOG": str(world.parent / "command.log"),
            "MPLCONFIGDIR": str(world.parent / "matplotlib"),
        },
        "output": str(output),
    }
    assert runner.stdin is not None
    assert runner.stdout is not None
    print(json.dumps(request), file=runner.stdin, flush=True)
    status = runner.stdout.readline().strip()
    printed = output.read_text(encoding="utf-8", errors="replace")
    print(printed)  # pytest shows it if the test fails
    assert status == "0", printed.partition("FAILED ")[2] or printed[-4000:]


def matches(command: str, table: dict[str, str]) -> str | None:
    """The pattern of a table that fits the whole command."""
    return next((pattern for pattern in table if re.fullmatch(pattern, command)), None)


def shortened(step: Step) -> Step:
    pattern = matches(step.code, SHORTENED) if step.kind == "command" else None
    return step if pattern is None else dataclasses.replace(step, code=f"{step.code} {SHORTENED[pattern]}")


def check_unrun(command: str) -> None:
    """What can be said of a command without running it: its targets exist, its settings are right."""
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=CHECKOUT, check=True, capture_output=True, timeout=60)
    if words[:3] == ["python", "-m", "hub_cards.publish"]:
        parse_publish(words[3:])
    if words[0] == "accelerate":
        settings = words[words.index("training.pretrain") + 1 :]
        assert settings[0] == "--config"
        load_config(PretrainConfig, CHECKOUT / settings[1], settings[2:])


def demo_commands() -> list[Step]:
    """The commands of `make demo`, in small and without accelerate's launcher, which README runs by itself."""
    printed = subprocess.run(
        ["make", "-n", "-o", ".venv/.demo-installed", "demo"], cwd=CHECKOUT, check=True, capture_output=True, text=True
    ).stdout
    steps = []
    for step in commands_of(list(enumerate(printed.splitlines(), start=1))):
        command = re.sub(r"^\.venv/bin/(python|accelerate launch .*?) -m ", "python -m ", step.code)
        if command != step.code:
            module = command.split()[2]
            steps.append(Step(step.line, "command", f"{command} {DEMO.get(module, '')}".strip()))
    assert [step.code.split()[2] for step in steps] == [
        "training.corpus.synthetic",
        "training.curate",
        "training.teachers",
        "training.pretrain",
        "evaluation.benchmark",
        "hub_cards.card",
        "evaluation.report",
    ]
    return steps


def test_no_exception_outlives_its_command() -> None:
    commands = [step.code for document in DOCUMENTS for step in steps_of(document) if step.kind == "command"]
    idle = [
        pattern for pattern in (*NOT_RUN, *SHORTENED) if not any(re.fullmatch(pattern, command) for command in commands)
    ]
    assert not idle


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_relative_links_lead_to_files(document: Path) -> None:
    broken = [target for target in links_of(document) if not (document.parent / target).exists()]
    assert not broken


def write(folder: Path, text: str) -> Path:
    (folder / "page.md").write_text(text, encoding="utf-8")
    return folder / "page.md"


def test_steps_are_blocks_of_python_and_single_commands(tmp_path: Path) -> None:
    shell = "# Page\n```bash\n# why\nfirst --a \\\n    --b  # so\n\nsecond\n```\n"
    text = f"{shell}```python\nx = 1\ny = 2\n```\n```text\nz\n```\n"
    assert steps_of(write(tmp_path, text)) == [
        Step(4, "command", "first --a --b  # so"),
        Step(7, "command", "second"),
        Step(10, "python", "x = 1\ny = 2"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```ruby\n1\n```\n", r"page.md:1: a block of language 'ruby'; there are python, bash, text"),
        ("\n```\ntree\n```\n", r"page.md:2: a block of language ''"),
        ("```python\n1\n", r"page.md: its last block is not closed"),
        ("```bash\nfirst \\\n```\n", r"the command of line 2 ends in a backslash"),
    ],
)
def test_a_block_that_nobody_would_run_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        steps_of(write(tmp_path, text))


def test_links_leave_out_the_web_and_code(tmp_path: Path) -> None:
    text = "[a](b.md#c) [d](https://e.f) [g](#h) ![i](j.png) `[k](l)`\n```text\n[m](n)\n```\n"
    assert links_of(write(tmp_path, text)) == ["b.md", "j.png"]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Step(2, "python", "x = 1\nraise RuntimeError('no')"), r"page.md\", line 3, in <module>"),
        (Step(2, "command", "python -m json.tool nowhere.json"), r"exit status 2"),
        (Step(2, "command", "ls nowhere | cat && false"), r"exit status 1\n\s*ls: "),
    ],
)
def test_a_failure_names_its_place(tmp_path: Path, step: Step, message: str, runner: Popen) -> None:
    (tmp_path / "world").mkdir()
    with pytest.raises(AssertionError, match=message):
        run_steps(tmp_path / "page.md", [step], tmp_path / "world", runner)


def test_blocks_share_a_namespace_with_commands_in_between(tmp_path: Path, runner: Popen) -> None:
    (tmp_path / "world").mkdir()
    steps = [
        Step(1, "python", "x = 'hello'\nopen('a.json', 'w').write('[1]')"),
        Step(4, "command", "python -m json.tool a.json b.json"),
        Step(7, "python", "assert open('b.json').read() and x == 'hello'"),
    ]
    run_steps(tmp_path / "page.md", steps, tmp_path / "world", runner)

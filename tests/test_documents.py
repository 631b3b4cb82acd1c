"""Every code block of README and docs runs, in order, in a folder that holds tiny things under the names they use."""

import dataclasses
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub_cards.publish import parse as parse_publish
from training.config import load_config
from training.settings import PretrainConfig

from .documents.blocks import Step, links_of, steps_of
from .documents.demo import PRETRAIN, demo_commands
from .documents.running import CHECKOUT, Popen, run_steps, start_runner
from .documents.world import make_world

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
SHORTENED = {
    r"accelerate launch .*recipes/small_corpus\.yaml.*": PRETRAIN,  # 4800 steps take three quarters of an hour
    r"python -m evaluation\.benchmark --model .*": "--image-size 64",  # five backbones look at every frame
}


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
    with start_runner(tmp_path_factory.mktemp("huggingface")) as process:
        yield process


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

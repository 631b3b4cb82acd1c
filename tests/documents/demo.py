"""The commands of `make demo`, in small."""

import re
import subprocess

from .blocks import Step, commands_of
from .running import CHECKOUT

# Appended to a pretraining, which otherwise takes minutes.
PRETRAIN = (
    "max_steps=2 batch_size=2 student.image_size=32 distillation.head_width=16 distillation.calibration_frames=16 "
    "data.held_out_frames=4 data.views_per_frame=1 log.every=1 log.eval_every=2 log.save_every=2 log.plan=false "
    "teachers.efficientnet_lite0.input_size=64 teachers.efficientnet_lite2.input_size=64"
)
# What is appended to each command, by module.
_SHORTENED = {
    "training.corpus.synthetic": "cases_train=6 cases_test=3 seconds=2 width=96 height=96",
    "training.pretrain": PRETRAIN,
    "evaluation.benchmark": "--image-size 64",
}


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
            steps.append(Step(step.line, "command", f"{command} {_SHORTENED.get(module, '')}".strip()))
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

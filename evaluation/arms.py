"""Which ways of measuring a task are asked for: protocol, probe, and which few labels."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.few_shot import CASE_SHOTS, IMAGE_SHOTS, SUBSETS, few_case_subsets, few_image_rows
from evaluation.protocols import PROTOCOLS
from evaluation.protocols.prompts import load_prompts
from evaluation.records import Shots
from evaluation.tasks import LoadedTask, ProblemTask, Task

HEAD = "linear head"  # what stands on a backbone that is trained itself
PROMPTS = "prompts"
FEW_SHOT_PROBES = ("linear",)  # unless others are asked for: each stands for subsets x counts fits
BY_IMAGE = ("image_classification",)  # families whose few labels are images of each class, not cases


@dataclass(frozen=True)
class Arm:
    """One way of measuring."""

    protocol: str
    probe: str
    shots: Shots | None = None


def arms_of(
    task: Task, loaded: LoadedTask, protocols: Sequence[str], probes: Sequence[str]
) -> tuple[list[Arm], dict[str, str]]:
    """The arms of a task.

    Args:
        task: what it is.
        loaded: with its data.
        protocols: that are asked for.
        probes: that are asked for; all of the task (one for few-shot) if empty.

    Returns:
        The arms in the order of `PROTOCOLS`, and for each protocol that does not apply a sentence why.
    """
    wanted = [probe for probe in task.probes if not probes or probe in probes]
    arms: list[Arm] = []
    refused = {}
    for protocol in (each for each in PROTOCOLS if each in protocols):
        reason = _reason_against(task, loaded, protocol)
        if reason:
            refused[protocol] = reason
        elif protocol in ("frozen", "transfer"):
            arms += [Arm(protocol, probe) for probe in wanted]
        elif protocol == "few_shot":
            few = [probe for probe in wanted if probes or probe in FEW_SHOT_PROBES]
            counts = _counts(task, loaded)
            arms += [Arm(protocol, probe, shots) for probe in few for shots in counts]
            if not counts:
                refused[protocol] = "the train side has too few cases for a subset of them"
        else:
            arms.append(Arm(protocol, PROMPTS if protocol == "zero_shot" else HEAD))
    return arms, refused


def _reason_against(task: Task, loaded: LoadedTask, protocol: str) -> str:
    if task.transfer != (protocol == "transfer"):
        return (
            "its train and test sides are different datasets: only protocol transfer applies"
            if task.transfer
            else "protocol transfer needs a task between two datasets (transfer_...)"
        )
    if protocol in ("frozen", "transfer"):
        return ""
    if not isinstance(loaded, ProblemTask):
        return f"{protocol} is not built for tasks of the family {task.family}, only frozen is"
    if protocol == "zero_shot" and (
        loaded.problem.target.kind == "value" or load_prompts(loaded.dataset, loaded.problem.target) is None
    ):
        return f"there are no prompts for the {loaded.problem.target.name} of {loaded.dataset}"
    return ""


def _counts(task: Task, loaded: LoadedTask) -> list[Shots]:
    numbers = range(1, SUBSETS + 1)
    if task.family in BY_IMAGE:
        return [Shots(count, "images per class", subset) for count in IMAGE_SHOTS for subset in numbers]
    cases = len(loaded.split.train)
    return [Shots(count, "cases", subset) for count in CASE_SHOTS if count < cases for subset in numbers]


def few_labels(loaded: ProblemTask, shots: Shots) -> ProblemTask:
    """The task with the training samples of one fixed subset only."""
    train, split = loaded.problem.train, loaded.split.name
    if shots.unit == "cases":
        chosen = few_case_subsets(loaded.dataset, split, loaded.split.train, shots.count)[shots.subset - 1]
        rows = [row for row, case in enumerate(train.cases) if case in chosen]
        return loaded.with_train(rows)
    subsets = few_image_rows(loaded.dataset, split, train.videos, train.targets, shots.count)
    return loaded.with_train(subsets[shots.subset - 1])

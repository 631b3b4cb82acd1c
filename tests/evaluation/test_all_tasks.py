"""Every dataset, every task and every protocol on one small world; and what happens where the world is damaged."""

import dataclasses
import functools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from evaluation import arms
from evaluation.backbones import ColorHistogram
from evaluation.benchmark import main
from evaluation.bootstrap import point
from evaluation.datasets import DATASETS, SAMPLE_DATASETS, WORKFLOW_DATASETS, FrameReference
from evaluation.datasets.samples import Target
from evaluation.datasets.workflow import load_split
from evaluation.feature_store import extraction
from evaluation.features import extract_features
from evaluation.frames import AnyFrame, decode
from evaluation.predictions import read_predictions
from evaluation.protocols import PROTOCOLS, attentive, linear, pixels, temporal
from evaluation.protocols.logistic import fit_logistic
from evaluation.protocols.problem import Samples
from evaluation.records import ResultRecord, read_records
from evaluation.skips import Skip, read_skips
from evaluation.tasks import TASKS, Aim, Outcome, ProblemTask, Sources
from evaluation.tasks.problems import CONSTANT
from tests.evaluation.world import World, use_splits
from tests.evaluation.world.cases import CASES
from tests.modeling_zen.text_models import make_teacher, make_tokenizer
from training.bootstrap import draw_counts

IMAGE_SIZE = 32  # pixels: four tokens of ZEN
SHORT = ("--finetune", "min_steps=2", "max_steps=2", "checks=1", "--lora", "rank=2")
TRANSFERS = {name for name in TASKS.names() if TASKS.get(name).transfer}
FROZEN_ONLY = {name for name in TASKS.names() if TASKS.get(name).family in ("segmentation", "agreement")}


@pytest.fixture(autouse=True, scope="module")
def _reduced_splits(world: World) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use_splits(world, patch)
        yield


def labels_seen(target: Target, targets: np.ndarray) -> int:
    """Classes that occur on a side: columns with positives, or different values."""
    if target.kind == "multi":
        return int(targets.any(axis=0).sum())
    return len(np.unique(targets, axis=0))


@pytest.mark.parametrize("name", WORKFLOW_DATASETS.names())
def test_workflow_readers(name: str, world: World) -> None:
    reader = WORKFLOW_DATASETS.get(name)
    home = reader.find(world.root)
    assert home is not None
    dataset = reader.scan(home, load_split(name), 1.0)
    cases = {
        side: {video.case_id for video in dataset.videos if video.side == side} for side in ("train", "val", "test")
    }
    assert tuple(cases.values()) == tuple(map(set, CASES[name]))
    assert {track.name for track in dataset.tracks} == set(reader.tracks)


@pytest.mark.parametrize("name", SAMPLE_DATASETS.names())
def test_sample_readers(name: str, world: World) -> None:
    reader = SAMPLE_DATASETS.get(name)
    home = reader.find(world.root)
    assert home is not None
    dataset = reader.scan(home, load_split(name) if name in CASES else None)
    if name in CASES:
        found = {side: {each.case_id for each in dataset.samples if each.side == side} for side in ("train", "test")}
        assert (found["train"], found["test"]) == (set(CASES[name][0]), set(CASES[name][2]))
    assert all(frame.path.is_file() for sample in dataset.samples for frame in sample.frames)


@pytest.mark.parametrize("name", DATASETS.names())
def test_record_readers(name: str, world: World) -> None:
    reader = DATASETS.get(name)
    home = reader.find(world.root)
    assert home is not None
    assert {record.split for record in reader.scan(home).records} == {"train", "test"}


@pytest.mark.parametrize("name", [name for name in TASKS.names() if name != "teacher_agreement"])
def test_tasks_load(name: str, world: World) -> None:
    loaded = TASKS.get(name).load(Sources((world.root,), None), None)
    assert loaded.frames
    assert loaded.split.train
    assert loaded.split.test
    if not isinstance(loaded, ProblemTask):
        return
    problem = loaded.problem
    for side in (problem.train, problem.val, problem.test):
        problem.target.check(side.targets)
    assert labels_seen(problem.target, problem.train.targets) >= 2
    assert labels_seen(problem.target, problem.test.targets) >= 2
    assert not set(problem.train.cases) & set(problem.test.cases)


@dataclass(frozen=True)
class Everything:
    """What one run over everything left."""

    output: Path
    records: Sequence[ResultRecord]
    skips: Sequence[Skip]
    stored: Counter[AnyFrame]  # how often each frame was decoded for features
    seen: Counter[AnyFrame]  # and for protocols that train through a backbone


def measure_little(patch: pytest.MonkeyPatch) -> None:
    """Fewer steps, resamples and subsets: what is tested here is that everything is measured, not how well."""

    def fit_briefly(*arguments: Any, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return fit_logistic(*arguments, **{**options, "iterations": 5})

    for module in (attentive, temporal):
        patch.setattr(module, "SETTINGS", dataclasses.replace(module.SETTINGS, passes=1, steps=(4, 4)))
    patch.setattr(
        attentive, "SETTINGS", dataclasses.replace(attentive.SETTINGS, recipes=attentive.SETTINGS.recipes[:1])
    )
    patch.setattr(linear, "fit_logistic", fit_briefly)
    patch.setattr("evaluation.bootstrap.draw_counts", functools.partial(draw_counts, resamples=20))
    patch.setattr(arms, "SUBSETS", 1)
    patch.setattr("evaluation.measuring.version", functools.cache(version))


def count_decoded(patch: pytest.MonkeyPatch, module: object) -> Counter[AnyFrame]:
    """How often each frame is decoded from now on for a module."""
    counts: Counter[AnyFrame] = Counter()

    def counting(frames: Sequence[AnyFrame], image_size: int) -> Iterator[np.ndarray]:
        counts.update(frames)
        return decode(frames, image_size)

    patch.setattr(module, "decode", counting)
    return counts


def run(output: Path, model: Path, root: Path, *words: object) -> tuple[list[ResultRecord], list[Skip]]:
    """Run the command with every protocol; what lies in its files then."""
    usual = ["--model", model, "--data-root", root, "--image-size", IMAGE_SIZE, "--output", output]
    main([str(word) for word in [*usual, *SHORT, "--protocols", *PROTOCOLS, *words]])
    return read_records(output), read_skips(output)


# One test, as workers that share the tests of a file would each make the run.
@pytest.mark.timeout(1200)
def test_one_run_measures_everything(
    zen_folder: Path,
    teacher_folder: Path,
    corpus_folder: Path,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "results.jsonl"
    measure_little(monkeypatch)
    stored, seen = count_decoded(monkeypatch, extraction), count_decoded(monkeypatch, pixels)
    start = time.perf_counter()
    run(output, zen_folder, world.root)
    agreement = ["--tasks", "teacher_agreement", "--teachers", teacher_folder, "--corpus", corpus_folder]
    records, skips = run(output, zen_folder, world.root, *agreement)
    seconds = time.perf_counter() - start
    with capsys.disabled():
        print(
            f"\n{len(records)} records of {len(TASKS.names())} tasks under {len(PROTOCOLS)} protocols: {seconds:.0f} s"
        )
    everything = Everything(output, records, skips, stored, seen)
    check_nothing_is_left_out(everything)
    check_skips(everything)
    check_frames_are_decoded_once(everything)
    check_predictions(everything)
    check_learnable(everything)
    check_second_run(everything, zen_folder, world, monkeypatch)


def check_nothing_is_left_out(everything: Everything) -> None:
    measured = {(record.task, record.protocol, record.probe) for record in everything.records}
    expected = set()
    for name in TASKS.names():
        task = TASKS.get(name)
        expected |= {(name, "transfer" if task.transfer else "frozen", probe) for probe in task.probes}
        if name not in TRANSFERS | FROZEN_ONLY:
            expected |= {(name, "few_shot", "linear"), (name, "lora", arms.HEAD), (name, "full_finetune", arms.HEAD)}
    assert measured == expected
    floors = {"student", "random_init", "majority"}
    for key in measured:
        roles = {r.model_role for r in everything.records if (r.task, r.protocol, r.probe) == key}
        assert roles == floors | ({"histogram"} if key[1] not in ("lora", "full_finetune") else set()), key


def check_skips(everything: Everything) -> None:
    left_out = {(skip.task, skip.protocol): skip.reason for skip in everything.skips}
    others = set(PROTOCOLS) - {"transfer"}
    expected = {(name, protocol) for name in TRANSFERS for protocol in others}
    expected |= {(name, protocol) for name in FROZEN_ONLY for protocol in others - {"frozen"}}
    expected |= {(name, "transfer") for name in TASKS.names() if name not in TRANSFERS}
    expected.add(("", "zero_shot"))  # of all tasks with prompts: ZEN has no text tower
    unprompted = {place for place in left_out.keys() - expected if "there are no prompts for" in left_out[place]}
    assert left_out.keys() == expected | unprompted
    assert all(protocol == "zero_shot" for _, protocol in unprompted)


def check_frames_are_decoded_once(everything: Everything) -> None:
    assert max(everything.stored.values()) == max(everything.seen.values()) == 1
    suffixes = {frame.path.suffix for frame in everything.seen if isinstance(frame, FrameReference)}
    assert suffixes == {".mp4", ".avi", ".png", ".jpg"}


def check_predictions(everything: Everything) -> None:
    for record in everything.records:
        if record.task in FROZEN_ONLY:
            assert record.predictions is None
            continue
        assert record.predictions is not None
        if record.primary:
            predictions = read_predictions(everything.output.parent / record.predictions)
            assert (predictions.task, set(predictions.cases)) == (record.task, set(record.split.test_cases))


def check_learnable(everything: Everything) -> None:
    """Guards the world itself: neighbors by color are far above the constant wherever there are enough of them."""
    for record in everything.records:
        if record.primary and (record.protocol, record.probe, record.model_role) == ("frozen", "knn", "histogram"):
            assert record.value is not None
            assert record.floors.majority is None or record.value > record.floors.majority + 0.15, record.task


def check_second_run(everything: Everything, zen_folder: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = everything.output.read_bytes()
    counts = [count_decoded(monkeypatch, module) for module in (extraction, pixels)]
    run(everything.output, zen_folder, world.root)
    assert everything.output.read_bytes() == before
    assert not any(counts)


@pytest.mark.timeout(600)
def test_prompts_of_every_task(
    world: World, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model with a text tower answers every task that has prompts, without training."""
    model = tmp_path_factory.mktemp("models") / "tiny-siglip"
    make_teacher("siglip").save_pretrained(model)
    make_tokenizer().save_pretrained(model)
    transformers.SiglipImageProcessor(size={"height": 16, "width": 16}).save_pretrained(model)
    measure_little(monkeypatch)
    records, skips = run(tmp_path / "results.jsonl", model, world.root, "--protocols", "zero_shot")
    refused = {skip.task: skip.reason for skip in skips}
    problems = set(TASKS.names()) - TRANSFERS - FROZEN_ONLY
    answered = {record.task for record in records}
    assert answered == problems - refused.keys()
    assert len(answered) > len(problems) / 2
    assert all("there are no prompts for" in refused[name] for name in problems & refused.keys())
    assert {record.model_role for record in records} == {"student", "majority"}


SHUFFLES = 12


def shuffled(side: Samples, rng: np.random.Generator) -> Samples:
    """The same samples with their labels dealt out anew."""
    return dataclasses.replace(side, targets=side.targets[rng.permutation(len(side))])


@pytest.mark.parametrize(
    ("name", "metric"),
    [("action_lapgyn4", "accuracy"), ("tool_m2cai16", "mean_average_precision"), ("skill_heichole", "spearman")],
)
def test_labels_at_random_teach_nothing(name: str, metric: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over shuffles lands at what guessing gives; a test label that leaked into the fit would lift it.

    Test samples with equal labels look alike, so that n different ones are n independent answers. A score in [0, 1] has
    a deviation of at most 1/2, the mean of m such scores 1 / (2 sqrt(m)); a rank correlation of n samples has
    1 / sqrt(n - 1). Three of them are allowed.
    """
    task = TASKS.get(name).load(Sources((world.root,), None), None)
    assert isinstance(task, ProblemTask)
    backbone, problem = ColorHistogram(), task.problem
    store = extract_features([backbone], task.frames, [], IMAGE_SIZE, memory_limit=1)
    rng = np.random.default_rng(0)

    def measured(outcome: Outcome) -> float:
        return point(next(each for each in outcome.measures if each.metric == metric))

    genuine = measured(task.predict(Aim(), "linear", store, backbone.name, 0))
    scores = []
    for _ in range(SHUFFLES):
        mixed = dataclasses.replace(problem, train=shuffled(problem.train, rng), val=shuffled(problem.val, rng))
        monkeypatch.setattr(task, "problem", mixed)
        scores.append(measured(task.predict(Aim(), "linear", store, backbone.name, 0)))
    shape = (len(problem.test), len(problem.target.classes))
    guesses = [measured(task.outcome(rng.normal(size=shape), CONSTANT)) for _ in range(200)]
    different = len(np.unique(problem.test.targets, axis=0))
    deviation = (different - 1) ** -0.5 if problem.target.kind == "value" else 0.5 * different**-0.5
    tolerance = 3 * deviation * SHUFFLES**-0.5
    floor = float(np.nanmean(guesses))
    assert abs(float(np.nanmean(scores)) - floor) < tolerance
    assert genuine > floor + tolerance

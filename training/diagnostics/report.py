"""Everything that is measured of a checkpoint on held-out videos, beside what it must be compared with."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from training.corpus import Corpus
from training.diagnostics.checkpoint import Opened
from training.diagnostics.features import SubjectFeatures, extract, features_of, frame_vectors
from training.diagnostics.frames import Frames, choose_frames
from training.diagnostics.intervals import VideoBootstrap, estimate
from training.diagnostics.measures import (
    dense_quality,
    likeness_to_teacher,
    resolution,
    sphere,
    spread_of_features,
    time,
    without_looking,
)
from training.diagnostics.probes import AgreementRecorder, Side, compare, fit_probe
from training.diagnostics.rows import Row, RowMaker
from training.diagnostics.settings import DiagnoseSettings
from training.diagnostics.spectrum import covariance_eigenvalues
from training.diagnostics.subjects import HistogramSubject, Subject, TeacherSubject, ZenSubject, random_student
from training.errors import UserError
from training.loader import ViewBatch
from training.objectives.distillation import DistillationObjective
from training.objectives.grids import valid_tokens
from training.teachers.teacher import TeacherOutput

STUDENT, RANDOM, CONSTANT = "student", "random init", "the constant predictor"
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Measured:
    """A finished measurement.

    Attributes:
        rows: all figures.
        subjects: the models, the student first.
        features: of each subject, by name.
        frames: the held-out frames.
        probe_frames, probe_videos: what the probes were fitted on.
        warped: rows of the frames that were warped and resized.
    """

    rows: list[Row]
    subjects: list[Subject]
    features: dict[str, TeacherOutput]
    frames: Frames
    probe_frames: int
    probe_videos: int
    warped: np.ndarray

    def spectra(self) -> dict[str, np.ndarray]:
        """Share of the variance of each direction of the frame vectors, largest first, by model."""
        spectra = {name: covariance_eigenvalues(frame_vectors(each)) for name, each in self.features.items()}
        return {name: values / max(values.sum(), 1e-30) for name, values in spectra.items()}


def held_out_frames(corpus: Corpus, settings: DiagnoseSettings, size: int) -> Frames:
    """The frames that are measured.

    Raises:
        UserError: the corpus holds out no video, or a single one, which no bootstrap can draw from.
    """
    frames = choose_frames(corpus, "held_out", settings.frames, settings.run_length, size)
    videos = len(np.unique(frames.videos))
    if not videos:
        raise UserError(
            f"corpus {corpus.name!r} has no held-out video: curate at least two cases, or name a folder 'test'"
        )
    if videos < 2:
        raise UserError(
            f"corpus {corpus.name!r} holds out a single video, but intervals are drawn over at least 2: "
            "curate more cases, or raise held_out_fraction"
        )
    return frames


def measure(opened: Opened, corpus: Corpus, settings: DiagnoseSettings, device: torch.device) -> Measured:
    """Measure a student, a random one, its teachers and the color histogram on the same frames.

    Raises:
        UserError: see `held_out_frames`; features that are not finite; too few frames for the probes.
    """
    subjects = _subjects(opened, settings, device)
    largest = max(max(size) for each in subjects for size in (each.size, *each.sizes(settings.scales).values()))
    frames = held_out_frames(corpus, settings, largest)
    warped = frames.spread(settings.warp_frames)
    bootstrap = VideoBootstrap(frames.videos, settings.seed, settings.resamples)
    batch = settings.batch_size
    targets: dict[str, TeacherOutput] = {}
    rows = without_looking(bootstrap, frames, warped, settings.match_grid)
    kept: dict[str, TeacherOutput] = {}
    # Teachers first: the others are compared with them.
    for subject in sorted(subjects, key=lambda each: each.role != "teacher"):
        features = extract(subject, frames.images, warped, settings.scales, batch, device)
        kept[subject.name] = features.whole
        if subject.role == "teacher":
            targets[subject.name] = features.whole
        rows += _measure_one(RowMaker(subject.name, bootstrap), features, frames, warped, settings)
    for subject in subjects:
        maker = RowMaker(subject.name, bootstrap)
        for name, target in targets.items():
            if name != subject.name:
                rows += likeness_to_teacher(maker, kept[subject.name], name, target, settings.neighbors)
    probe_frames = probe_videos = 0
    if opened.objective is not None:
        fitted_on = choose_frames(corpus, "train", settings.probe_frames, settings.run_length, largest)
        probe_frames, probe_videos = len(fitted_on), len(np.unique(fitted_on.videos))
        if not probe_frames:
            raise UserError(f"corpus {corpus.name!r} has no train clip to fit probes on: measure with --no-teachers")
        fit = {each.name: features_of(each, fitted_on.images, each.size, batch, device) for each in subjects}
        rows += _agreement(opened, bootstrap, kept, frames, fit, fitted_on, settings, device)
    order = {each.name: number for number, each in enumerate(subjects)}
    rows.sort(key=lambda row: order.get(row.model, len(order)))
    features_by_name = {name: kept[name] for name in order}
    return Measured(rows, subjects, features_by_name, frames, probe_frames, probe_videos, warped)


def _subjects(opened: Opened, settings: DiagnoseSettings, device: torch.device) -> list[Subject]:
    size = (opened.image_size, opened.image_size)
    mean, std = (
        torch.tensor(values, device=device).view(1, 3, 1, 1)
        for values in (opened.processor.image_mean, opened.processor.image_std)
    )
    floor = random_student(opened.student, settings.seed)
    torch.nn.Module.to(floor, device)
    subjects: list[Subject] = [
        ZenSubject(STUDENT, "student", opened.student, mean, std, size),
        ZenSubject(RANDOM, "random_init", floor, mean, std, size),
    ]
    if opened.objective is not None:
        plans = opened.objective.plans
        subjects += [TeacherSubject(name, each, plans[name].input_size) for name, each in opened.teachers.items()]
    return [*subjects, HistogramSubject(size)]


def _measure_one(
    maker: RowMaker, features: SubjectFeatures, frames: Frames, warped: np.ndarray, settings: DiagnoseSettings
) -> list[Row]:
    """All that needs no other model."""
    return [
        *spread_of_features(maker, features.whole, frames, settings.seed),
        *dense_quality(maker, features, frames, warped, settings.match_grid),
        *resolution(maker, features, frames, warped),
        *time(maker, features.whole, frames, settings),
        *sphere(maker, features, frames, warped),
    ]


def _agreement(
    opened: Opened,
    bootstrap: VideoBootstrap,
    features: Mapping[str, TeacherOutput],
    frames: Frames,
    fit: Mapping[str, TeacherOutput],
    fitted_on: Frames,
    settings: DiagnoseSettings,
    device: torch.device,
) -> list[Row]:
    """How much of each teacher the trained heads give back, and fresh ridge probes from every model."""
    objective = opened.objective
    assert objective is not None
    side, fit_side = Side(frames.valid, frames.videos), Side(fitted_on.valid, fitted_on.videos)
    targets = {name: features[name] for name in opened.teachers}
    heads: dict[tuple[str, str], Columns] = {}
    if opened.has_heads:
        heads = _through_heads(objective, frames, targets, settings.batch_size, device)
    else:
        _calibrate(objective, {name: fit[name] for name in opened.teachers}, fit_side, device)
    rows, losses = list[Row](), list[np.ndarray]()
    for name, plan in objective.plans.items():
        for kind, weight in plan.weights.items():
            facts = {"teacher": name, "tokens": kind}
            head = heads.get((name, kind))
            for model, own in features.items():
                if model == name:
                    continue
                maker = RowMaker(model, bootstrap)
                branch = fit_probe(objective.branch(name, kind), kind, fit[model], fit[name], fit_side)
                probe = compare(branch, kind, own, targets[name], side)
                rows += _quality(maker, probe, "ridge probe", facts)
                if model == STUDENT and head is not None:
                    rows += _quality(maker, head, "trained head", facts)
                    gap = _explained(bootstrap, head) - _explained(bootstrap, probe)
                    rows.append(maker.of("head_minus_probe", estimate(gap), **facts))
                    rows.append(maker.mean("loss", head["loss"], variant="trained head", **facts))
                    floor = RowMaker(CONSTANT, bootstrap)
                    rows.append(floor.mean("loss", head["constant_loss"], **facts))
                    losses.append(weight * bootstrap.ratios(head["loss"]))
    if losses:
        rows.append(RowMaker(STUDENT, bootstrap).of("frozen_target_loss", estimate(np.sum(losses, axis=0))))
    return rows


def _quality(maker: RowMaker, columns: Columns, variant: str, facts: dict[str, str]) -> list[Row]:
    explained = estimate(_explained(maker.bootstrap, columns))
    return [
        maker.of("explained_variance", explained, variant=variant, chance=0.0, **facts),
        maker.mean("centered_cosine", columns["cosine"], variant=variant, **facts),
    ]


def _explained(bootstrap: VideoBootstrap, columns: Columns) -> np.ndarray:
    """1 - Σ error / Σ error of the constant predictor, for every draw."""
    return 1 - bootstrap.ratios(columns["error"], columns["constant_error"])


@torch.no_grad()
def _through_heads(
    objective: DistillationObjective,
    frames: Frames,
    targets: Mapping[str, TeacherOutput],
    batch_size: int,
    device: torch.device,
) -> dict[tuple[str, str], Columns]:
    """Agreement of every frame by teacher and tokens, as the run itself measures it."""
    recorder = AgreementRecorder()
    batch = ViewBatch(
        images=frames.images,
        numbers=-1 - torch.arange(len(frames)),
        valid=frames.valid,
        clips=torch.from_numpy(frames.clips),
        sources=torch.from_numpy(frames.codes[:, 0]),
        procedures=torch.from_numpy(frames.codes[:, 1]),
        shared=torch.arange(len(frames)),
    )
    done = 0
    for part in batch.split(batch_size):
        rows = slice(done, done + len(part.images))
        prepared = {name: _part(each, rows, device) for name, each in targets.items()}
        objective(part._replace(images=part.images.float() / 255).to(device), prepared, recorder)
        done = rows.stop
    return recorder.columns()


@torch.no_grad()
def _calibrate(
    objective: DistillationObjective, targets: Mapping[str, TeacherOutput], side: Side, device: torch.device
) -> None:
    """Center every normalizer on the frames that the probes are fitted on."""
    for name, plan in objective.plans.items():
        mask = valid_tokens(side.valid, plan.grid).to(device)
        for kind in plan.weights:
            objective.branch(name, kind).observe(getattr(targets[name], kind).to(device), mask)
    objective.freeze()


def _part(features: TeacherOutput, rows: slice, device: torch.device) -> TeacherOutput:
    summary, dense = (None if each is None else each[rows].to(device) for each in (features.summary, features.dense))
    return TeacherOutput(summary, dense)

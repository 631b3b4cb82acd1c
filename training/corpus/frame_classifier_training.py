"""Trains a small classifier of frames inside and outside the body, and measures it on cases that it has not seen."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2
from tqdm import tqdm
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification
from transformers.models.timm_wrapper.image_processing_timm_wrapper import TimmWrapperImageProcessor

from training.corpus.filters import Picture
from training.corpus.filters.out_of_body import OutOfBodySettings, room_likeness
from training.corpus.frame_classifier import OUT_OF_BODY, SURGICAL, FrameClassifier
from training.corpus.frames import Missing, fit_short_side, read_still
from training.corpus.splits import resolve_splits
from training.errors import UserError

LABELS = (SURGICAL, OUT_OF_BODY)  # folder names, in the order of the model's outputs
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
SHORT_SIDE = 256  # pixels of the frames that the rule is measured on: those that curation stores by default
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, so that timm's weights fit too


@dataclass(frozen=True)
class FrameFilterSettings:
    """Settings of `python -m training.train_frame_filter`."""

    # Name in timm. A convolutional network of 0.6 M parameters that needs no download: it starts from random
    # weights. 16 frames took 0.12 s on one busy core, a ResNet-10 0.72 s.
    architecture: str = "lcnet_050"
    image_size: int = 96  # pixels, both sides; OoBNet (Sci Rep 2023 13:9235) reads frames at 64
    # On the file name without extension; its group `case` is what is never split: a case or a video.
    case_pattern: str = r"^(?P<case>.+?)(_\d+)?$"
    held_out_fraction: float = 0.2  # of the cases, at least one
    steps: int = 400  # optimizer steps; 100 on 559 rendered frames gave accuracy 0.88 on held-out cases, the rule 1.00
    batch_size: int = 32  # frames, half of each label whatever their numbers are
    learning_rate: float = 2e-3  # AdamW, one cycle; usual for small convolutional networks from random weights
    weight_decay: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        at_least = {"image_size": 32, "steps": 1, "batch_size": 2, "learning_rate": 0.0, "weight_decay": 0.0}
        for key, least in at_least.items():
            if not getattr(self, key) >= least:
                raise UserError(f"setting {key}={getattr(self, key)} is too small: it must be at least {least:g}")
        if not 0 < self.held_out_fraction < 1:
            raise UserError(f"setting held_out_fraction={self.held_out_fraction} must be between 0 and 1")
        try:
            groups = re.compile(self.case_pattern).groupindex
        except re.error as error:
            raise UserError(f"setting case_pattern={self.case_pattern!r} is no regular expression: {error}") from error
        if "case" not in groups:
            raise UserError(f"setting case_pattern={self.case_pattern!r} has no group (?P<case>...)")


@dataclass(frozen=True)
class LabeledFrame:
    """An image file with its label (its folder's name) and the case that its name tells."""

    path: Path
    label: str
    case: str


@dataclass(frozen=True)
class Quality:
    """How well one way of telling the held-out frames apart does; out_of_body is the positive class."""

    name: str
    accuracy: float
    precision: float  # NaN when nothing is called out of body
    recall: float


def read_labeled_folder(folder: Path, pattern: str) -> list[LabeledFrame]:
    """The images below `folder`/surgical and `folder`/out_of_body, sorted.

    Raises:
        UserError: a folder that is missing or empty, or a file name that `pattern` does not match.
    """
    frames = []
    for label in LABELS:
        paths = sorted(path for path in (folder / label).rglob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise UserError(
                f"{folder / label} holds no images; the labeled folder needs {SURGICAL}/ and {OUT_OF_BODY}/ with "
                f"{', '.join(sorted(SUFFIXES))} files"
            )
        for path in paths:
            match = re.search(pattern, path.stem)
            if match is None or not match["case"]:
                raise UserError(f"{path}: case_pattern={pattern!r} does not find a case in this file name")
            frames.append(LabeledFrame(path, label, match["case"]))
    return frames


def split_by_case(frames: Sequence[LabeledFrame], fraction: float) -> tuple[list[LabeledFrame], list[LabeledFrame]]:
    """Frames for training and held-out frames: no case on both sides, both labels on each.

    Raises:
        UserError: too few cases, or cases so uneven that one side lacks a label.
    """
    by_case = {frame.case: set[str]() for frame in frames}
    splits = resolve_splits(by_case, {}, fraction)
    train = [frame for frame in frames if splits[frame.case] == "train"]
    held_out = [frame for frame in frames if splits[frame.case] == "held_out"]
    for name, side in (("training", train), ("held-out", held_out)):
        missing = sorted(set(LABELS) - {frame.label for frame in side})
        if missing:
            raise UserError(
                f"the {name} side has no frame labeled {missing[0]}: {len(by_case)} cases do not give two sides; label "
                "more cases, change held_out_fraction, or let case_pattern find smaller groups such as videos"
            )
    return train, held_out


def train_frame_classifier(train: Sequence[LabeledFrame], settings: FrameFilterSettings) -> FrameClassifier:
    """Train from random weights; the same frames and settings give the same model on the same machine.

    Raises:
        UserError: an architecture that timm does not know, or an image that cannot be read.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model, processor = _build(settings)
        size = settings.image_size
        augment = v2.Compose(
            [
                v2.RandomResizedCrop(size, scale=(0.5, 1.0), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.RandomVerticalFlip(),  # the picture of a 30 degree optic may stand on its head
                v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.2),
                v2.Normalize(MEAN, STD),
            ]
        )
        pixels = {label: _load([frame for frame in train if frame.label == label], size) for label in LABELS}
        optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, settings.steps + 1)
        model.train()
        for _ in tqdm(range(settings.steps), "training", unit="step"):
            drawn = [_draw(pixels[label], settings.batch_size // 2) for label in LABELS]
            images = torch.stack([augment(image) for image in torch.cat(drawn).float() / 255])  # (batch, 3, s, s)
            labels = torch.arange(len(LABELS)).repeat_interleave(settings.batch_size // 2)  # (batch,)
            loss = nn.functional.cross_entropy(model(pixel_values=images).logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        _settle_statistics(model, torch.cat([pixels[label] for label in LABELS]))
    return FrameClassifier(model, processor, LABELS.index(OUT_OF_BODY))


def measure(classifier: FrameClassifier, held_out: Sequence[LabeledFrame]) -> list[Quality]:
    """The classifier at probability 0.5, the rule at its `high` threshold and the majority class on the same frames."""
    truth = np.array([frame.label == OUT_OF_BODY for frame in held_out])
    probabilities: list[float] = []
    rule: list[float] = []
    for start in range(0, len(held_out), 32):
        frames = [fit_short_side(_read(frame.path), SHORT_SIDE) for frame in held_out[start : start + 32]]
        probabilities += classifier.out_of_body(frames)
        rule += [room_likeness(Picture(frame, 0.0)) for frame in frames]
    return [
        quality("classifier", np.array(probabilities) >= 0.5, truth),
        quality("rule", np.array(rule) >= OutOfBodySettings().high, truth),
        quality("majority", np.full(len(truth), truth.mean() > 0.5), truth),
    ]


def quality(name: str, called: np.ndarray, truth: np.ndarray) -> Quality:
    """Accuracy, precision and recall of `called`, bool (N,), against `truth`, bool (N,)."""
    hits = int((called & truth).sum())
    precision = hits / int(called.sum()) if called.any() else float("nan")
    return Quality(name, float((called == truth).mean()), precision, hits / int(truth.sum()))


def save_frame_classifier(classifier: FrameClassifier, folder: Path) -> None:
    """Write an ordinary model folder, all at once; timm's processor travels inside config.json.

    Raises:
        UserError: the folder exists and is not empty.
    """
    refuse_used_folder(folder)
    partial = folder.with_name(folder.name + ".tmp")
    if partial.exists():
        shutil.rmtree(partial)
    classifier.model.save_pretrained(partial)
    if folder.exists():
        folder.rmdir()
    partial.rename(folder)


def refuse_used_folder(folder: Path) -> None:
    """Raise `UserError` when something lies there already; called before the training as well."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise UserError(f"{folder} is not empty; give a new folder for the model")


def _build(settings: FrameFilterSettings) -> tuple[TimmWrapperForImageClassification, TimmWrapperImageProcessor]:
    size = settings.image_size
    preprocessing = {
        "input_size": [3, size, size],
        "mean": list(MEAN),
        "std": list(STD),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "crop_mode": "squash",  # the whole frame, whatever its shape
    }
    config = TimmWrapperConfig.from_dict(
        {"architecture": settings.architecture, "num_classes": len(LABELS), "pretrained_cfg": preprocessing},
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    try:
        model = TimmWrapperForImageClassification(config)
    except (RuntimeError, ValueError, ImportError) as error:
        raise UserError(
            f"setting architecture={settings.architecture!r}: timm cannot build it: {str(error).splitlines()[0]}"
        ) from error
    return model, TimmWrapperImageProcessor(pretrained_cfg=preprocessing, architecture=settings.architecture)


def _load(frames: Sequence[LabeledFrame], size: int) -> Tensor:
    """All frames as uint8 (N, 3, size, size)."""
    images = [Image.fromarray(_read(frame.path)).resize((size, size), Image.Resampling.BILINEAR) for frame in frames]
    return torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)


def _settle_statistics(model: nn.Module, pixels: Tensor) -> None:
    """Average the batch statistics of all training frames, uint8 (N, 3, s, s), into the batch normalizations.

    After few steps the running averages still hold values of the random weights, and every frame gets one and the same
    answer. "Precise batch normalization", Wu and Johnson, Rethinking "Batch" in BatchNorm, 2021, section 3.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over batches
    order = torch.randperm(len(pixels))  # both labels in every batch
    with torch.no_grad():
        for batch in pixels[order].split(64):
            if len(batch) > 1:
                model(pixel_values=v2.functional.normalize(batch.float() / 255, list(MEAN), list(STD)))
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def _draw(pixels: Tensor, count: int) -> Tensor:
    return pixels[torch.randint(len(pixels), (count,))]


def _read(path: Path) -> np.ndarray:
    frame = read_still(path)
    if isinstance(frame, Missing):
        raise UserError(f"{path} cannot be read: {frame.detail}")
    return frame

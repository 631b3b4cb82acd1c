"""Features once: each frame is decoded once and seen once by each backbone; all tasks and probes read from here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from accelerate import PartialState

from evaluation.backbones import Backbone
from evaluation.feature_store.backbone_features import BackboneFeatures
from evaluation.feature_store.extraction import extract_missing
from evaluation.feature_store.folder import BackboneFolder
from evaluation.feature_store.memory import MemoryGuard
from evaluation.feature_store.part import Part
from evaluation.feature_store.request import Request
from evaluation.feature_store.sharing import Processes
from evaluation.frames import AnyFrame
from training.errors import UserError


@dataclass
class FeatureStore:
    """Features of all needed frames for all backbones: in memory, or mapped from a folder and read when asked for.

    Attributes:
        rows: number of each frame; frames with the same content share one.
        backbones: by name.
        computed: frames that each backbone saw in this run, in all its processes; the others were there before.
        decoded: frames that were decoded in this run, in all its processes.
    """

    rows: dict[AnyFrame, int]
    backbones: dict[str, BackboneFeatures] = field(default_factory=dict)
    computed: dict[str, int] = field(default_factory=dict)
    decoded: int = 0

    def summary(self, backbone: str, frames: Sequence[AnyFrame]) -> np.ndarray:
        """Summaries, float32 (frames, Ds); Ds is 0 for a backbone without one."""
        return self.backbones[backbone].pooled("summary", self._rows(frames))

    def mean_dense(self, backbone: str, frames: Sequence[AnyFrame]) -> np.ndarray:
        """Mean dense tokens, float32 (frames, Dd)."""
        return self.backbones[backbone].pooled("mean_dense", self._rows(frames))

    def pooled(self, backbone: str, frames: Sequence[AnyFrame]) -> np.ndarray:
        """Summary beside mean dense token, float32 (frames, Ds + Dd)."""
        return np.concatenate([self.summary(backbone, frames), self.mean_dense(backbone, frames)], axis=1)

    def dense(self, backbone: str, frames: Sequence[AnyFrame]) -> np.ndarray:
        """Dense tokens, float32 (frames, Dd, h, w)."""
        return self.backbones[backbone].tokens("dense", self._rows(frames))

    def coarse(self, backbone: str, frames: Sequence[AnyFrame]) -> np.ndarray:
        """Dense tokens averaged over at most `COARSE_GRID` cells a side, float32 (frames, Dd, h, w)."""
        return self.backbones[backbone].tokens("coarse", self._rows(frames))

    def grid(self, backbone: str) -> tuple[int, int]:
        """Height and width of the backbone's dense grid."""
        return self.backbones[backbone].grid

    def _rows(self, frames: Sequence[AnyFrame]) -> np.ndarray:
        return np.array([self.rows[frame] for frame in frames], np.int64)


def extract_features(
    backbones: Sequence[Backbone],
    frames: Iterable[AnyFrame],
    dense_frames: Iterable[AnyFrame],
    image_size: int,
    *,
    memory_limit: float,
    folder: Path | None = None,
    coarse_frames: Iterable[AnyFrame] | None = None,
) -> FeatureStore:
    """Decode every frame once and pass it once through every backbone that has no features of it yet.

    Per frame and backbone (Ds + Dd) x 4 bytes are kept, with coarse tokens Dd x 36 bytes more, with dense tokens
    Dd x (h x w x 2 + 4): 6, 28 and 304 kB for a ViT-B at 224 pixels. Frames themselves are not kept.

    All processes of a run call this with the same arguments: each decodes whole files and clips, and all can read what
    any of them computed. After a kill the same call computes what is not in the folder yet.

    Args:
        backbones: with distinct names.
        frames: all frames any task needs; duplicates are decoded once.
        dense_frames: those whose dense tokens are needed beyond their mean.
        image_size: pixels of the square every backbone sees.
        memory_limit: GB that features may take in memory: all of them without a folder, with one the dense tokens of a
            backbone.
        folder: where features are kept for later runs and other processes; None: in memory, for this run.
        coarse_frames: those of which coarse tokens are needed; None: all.

    Raises:
        UnreadableFrameError: a file that cannot be read or decoded; what was computed before is in the folder.
        UserError: a size a backbone refuses, features that are not finite, an estimate above `memory_limit`, a folder
            that cannot be used, or several processes without one.
    """
    state = PartialState()
    if folder is None and state.num_processes > 1:
        raise UserError(
            f"features of {state.num_processes} processes meet in a folder, and none was given; name one, or start one "
            "process"
        )
    for backbone in backbones:
        backbone.check_size(image_size)
    request = Request.of(frames, dense_frames, coarse_frames, by_content=folder is not None)
    store = FeatureStore(request.positions)
    if not request.keys or not backbones:
        return store
    homes = {} if folder is None else {b.name: BackboneFolder.of(folder, b, image_size) for b in backbones}
    guard = MemoryGuard(memory_limit, len(backbones), request, is_held=folder is None)
    parts: dict[str, list[Part]] = {backbone.name: [] for backbone in backbones}

    def look() -> dict[str, np.ndarray]:
        for name, home in homes.items():
            home.prepare()
            parts[name] = home.read(request, verify=True)
            if parts[name]:
                guard.see(name, parts[name][0].tensors)
        return {name: request.missing(own) for name, own in parts.items()}

    def keep(name: str, part: Part) -> None:
        if name in homes:
            homes[name].write(part)
        else:
            parts[name].append(part)

    with Processes() as processes:
        # One process looks for all, so that all divide the same list; the others find no damaged part anymore.
        missing = processes.gather(lambda: look() if state.is_main_process else {})[0]
        counts = processes.gather(lambda: extract_missing(backbones, request, missing, image_size, keep, guard.see))
    for name, home in homes.items():
        parts[name] = home.read(request, parts[name], verify=True)
    for name, own in parts.items():
        if lost := len(request.missing(own)):
            raise UserError(
                f"{lost} frames of {name!r} were just written to {str(folder)!r} and are not there anymore; something "
                "else deletes or damages files in it"
            )
        store.backbones[name] = BackboneFeatures(request, own)
        store.computed[name] = sum(each.computed[name] for each in counts)
    store.decoded = sum(each.decoded for each in counts)
    return store

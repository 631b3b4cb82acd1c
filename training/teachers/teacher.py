"""A frozen teacher: images in [0, 1] in, float32 summary and dense tokens out, normalised by its own processor."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from training.errors import UserError
from training.teachers.checkpoint import (
    Checkpoint,
    find_checkpoint,
    hash_weights,
    open_config,
    open_model,
    open_preprocessing,
)
from training.teachers.encoding import TeacherOutput, encode, encode_clips, read_features
from training.teachers.folding import fold_batch_norms
from training.teachers.parking import lent
from training.teachers.precision import check_dtype, compute_dtype, lower_weights
from training.teachers.preprocessing import Preprocessing
from training.teachers.spec import Size, TeacherSpec
from training.teachers.spec_inference import infer_spec

__all__ = ["Teacher", "TeacherOutput", "TeacherParts", "load_teacher", "open_teacher"]


class TeacherParts(NamedTuple):
    """What a teacher is made of. The model is in eval mode and still trainable."""

    spec: TeacherSpec
    model: nn.Module
    preprocessing: Preprocessing
    checkpoint: Checkpoint


def load_teacher(
    name_or_repo: str,
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    dtype: str = "float32",
) -> "Teacher":
    """Load a teacher and check it against its spec and its processor.

    Args:
        name_or_repo: a name of `python -m training.teachers list`, a Hub id, or a local folder that `AutoModel` loads.
        revision: Hub commit, tag or branch; without one the newest is resolved and recorded.
        trust_remote_code: run code from the repository; only with `revision` pinned to a commit.
        dtype: "float32", "bfloat16" or "auto" (bfloat16 on GPUs that have it), see `compute_dtype`. Outputs are
            float32 either way.

    Raises:
        UserError: an unknown name or dtype, a missing or incomplete folder, a repository that is gated or out of reach,
            weights that do not fill the encoder, a processor without mean and std, or a spec that the model does not
            match.
    """
    check_dtype(f"teacher {name_or_repo!r}: dtype", dtype)
    return Teacher(*open_teacher(name_or_repo, revision=revision, trust_remote_code=trust_remote_code), dtype=dtype)


def open_teacher(name_or_repo: str, *, revision: str | None = None, trust_remote_code: bool = False) -> TeacherParts:
    """Load what `Teacher` is made of, for those who want to train it; arguments and errors as `load_teacher`."""
    checkpoint = find_checkpoint(name_or_repo, revision=revision, trust_remote_code=trust_remote_code)
    config, checkpoint = open_config(checkpoint)
    preprocessing = open_preprocessing(checkpoint, config)
    model = open_model(checkpoint, config).eval()
    spec = checkpoint.spec or infer_spec(checkpoint, model, preprocessing)
    preprocessing.check(spec)
    return TeacherParts(spec, model, preprocessing, checkpoint)


class Teacher(nn.Module):
    """A frozen image or video encoder behind one interface.

    The network is not a registered submodule: whatever holds a teacher has none of its tensors in `parameters()` or in
    a state dict, so it can be neither trained nor saved. `.to(device)` moves it all the same; requests for another
    dtype are ignored, only its own setting `dtype` decides about that. `.train()` leaves it in eval mode.

    Attributes:
        spec: where its features are and which inputs are legal.
        preprocessing: what its processor does to an image.
        summary_width: width of the summary, `None` without one.
        dense_width: width of a dense token, `None` without them.
        num_parameters: parameters of the network.
        dtype: in which precision it computes, a setting of `load_teacher`.
    """

    def __init__(
        self,
        spec: TeacherSpec,
        model: nn.Module,
        preprocessing: Preprocessing,
        checkpoint: Checkpoint,
        *,
        dtype: str = "float32",
    ) -> None:
        super().__init__()
        self.spec = spec
        self.preprocessing = preprocessing
        self.dtype = dtype
        self._checkpoint = checkpoint
        # A tuple hides the network from nn.Module's registration.
        self._hidden = (model.eval().requires_grad_(False),)
        self.num_parameters = sum(parameter.numel() for parameter in model.parameters())
        self._weights_sha256 = hash_weights(model.state_dict())  # before folding rewrites them
        self._range_checked = False
        self._lowered: torch.dtype | None = None
        output = self._check_against_spec()
        self.summary_width = None if output.summary is None else output.summary.shape[1]
        self.dense_width = None if output.dense is None else output.dense.shape[1]
        if spec.kind == "map":
            self._speed_up()
        self.eval()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self._hidden[0].parameters()).device

    def tensors(self) -> list[Tensor]:
        """Parameters and buffers of the network."""
        return [*self._hidden[0].parameters(), *self._hidden[0].buffers()]

    @property
    def num_bytes(self) -> int:
        """Memory that the network's tensors take where they are."""
        return sum(tensor.nbytes for tensor in self.tensors())

    @contextmanager
    def lent_to(self, device: torch.device) -> Iterator[None]:
        """On `device` inside the block; before and after, the network rests where it is."""
        self._lower_for(device)
        with lent(self._hidden[0], device):
            yield

    def check_size(self, size: int | Size) -> None:
        """Raise `UserError` naming the two nearest legal sizes unless `size`, an edge or (height, width), is legal."""
        self.spec.check_size((size, size) if isinstance(size, int) else size)

    def grid_of(self, size: Size) -> Size:
        """Dense cells (rows, columns) of an input of (height, width) pixels; `UserError` if the size is not legal."""
        return self.spec.grid(size)

    def input_size_for_grid(self, height: int, width: int) -> Size:
        """Input (height, width) in pixels with a dense grid of `height` x `width` cells; `UserError` if none is."""
        return self.spec.input_size_for_grid(height, width)

    @torch.no_grad()
    def forward(self, images: Tensor, size: Size | None = None, frames: int = 1) -> TeacherOutput:
        """Features of a batch.

        Args:
            images: float `(batch, 3, height, width)` in [0, 1], RGB, on the teacher's device.
            size: input (height, width) the images are resized to first; `None` takes them as they are.
            frames: neighbours that are the frames of one clip, in order. A video teacher encodes them together, an
                image teacher does not care.

        Returns:
            float32 summary `(batch, summary_width)` and dense tokens `(batch, dense_width, rows, columns)`; either is
            `None` if the teacher has none.

        Raises:
            UserError: an illegal size.
            ValueError: images of another shape, type or range (the range is looked at in the first batch only), or
                no whole number of clips.
        """
        self._check_images(images, frames)
        size = size or (images.shape[-2], images.shape[-1])
        grid = self.spec.grid(size)
        pixels = self.preprocessing.normalize(self.preprocessing.resize(images.float(), size))
        hidden, pooled = self._encode(pixels, frames)
        return read_features(self.spec, grid, hidden, pooled)

    def identity(self) -> dict[str, Any]:
        """Who this teacher is, for run records and cards: JSON-able, without any path of this machine."""
        return {
            "name": self.spec.name,
            "repo": self._checkpoint.public_name,
            "revision": self._checkpoint.revision,
            "weights_sha256": self._weights_sha256,
            "preprocessing_sha256": self.preprocessing.fingerprint(),
            "licence": self.spec.licence,
            "source": self.spec.source,
        }

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in eval mode, whatever is asked: dropout or a rotary jitter would make the targets noise."""
        self._hidden[0].eval()
        return super().train(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Teacher":
        """Follow a move to another device. A change of dtype is not followed: targets would lose digits silently."""
        super()._apply(fn, recurse)
        device = fn(torch.empty(0, device=self.device)).device
        self._lower_for(device)
        self._hidden[0].to(device)
        return self

    def _lower_for(self, device: torch.device) -> None:
        """Store weights as the device computes with them; `RuntimeError` where the digits it needs are gone."""
        wanted = compute_dtype(self.dtype, device)
        if wanted == torch.float32 and self._lowered:
            raise RuntimeError(f"teacher {self.spec.name!r} has kept {self._lowered} weights only; load it anew")
        if wanted != torch.float32 and not self._lowered:
            lower_weights(self._hidden[0], wanted)
            self._lowered = wanted

    def _encode(self, pixels: Tensor, frames: int = 1) -> tuple[Tensor, Tensor | None]:
        """The network on normalised pixels, under autocast only where that pays and never under the caller's."""
        if self.spec.kind == "map":
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        dtype = compute_dtype(self.dtype, pixels.device)
        lower = dtype != torch.float32
        with torch.autocast(pixels.device.type, dtype=dtype if lower else torch.bfloat16, enabled=lower):
            if self.spec.kind == "video":
                return encode_clips(self._hidden[0], pixels, frames, self.spec.tubelet_size), None
            return encode(self._hidden[0], pixels, self.spec.dense_layer)

    def _check_images(self, images: Tensor, frames: int) -> None:
        """Refuse what would give wrong features without an error."""
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(
                f"teacher {self.spec.name!r} takes float images (batch, 3, height, width) in [0, 1], got "
                f"{images.dtype} {tuple(images.shape)}"
            )
        if frames < 1 or len(images) % frames:
            raise ValueError(f"{len(images)} images are no clips of {frames} frames each")
        if not self._range_checked and images.numel():
            low, high = (float(value) for value in images.aminmax())
            if not -1e-3 <= low <= high <= 1 + 1e-3:
                raise ValueError(
                    f"teacher {self.spec.name!r} takes images in [0, 1], got values from {low:.3g} to {high:.3g}; it "
                    "normalises them itself"
                )
            self._range_checked = True

    @torch.no_grad()
    def _check_against_spec(self) -> TeacherOutput:
        """Two dry runs: the shapes are those of the spec, and the same image gives the same features twice."""
        size = self._dry_size()
        # A gradient image: constant inputs hide masking and shuffling of tokens.
        ramp = torch.linspace(0, 1, size[0] * size[1], device=self.device).view(1, 1, *size).expand(1, 3, *size)
        pixels = self.preprocessing.normalize(ramp)
        try:
            hidden, pooled = self._encode(pixels)
            again, _ = self._encode(pixels)
        except (AssertionError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(
                f"teacher {self.spec.name!r}: its spec allows {size[0]}x{size[1]} inputs but the model refuses them: "
                f"{reason}"
            ) from error
        if not bool(hidden.isfinite().all()):
            raise UserError(f"teacher {self.spec.name!r}: it gives NaN or infinite features; its weights are damaged")
        if hidden.shape != again.shape or not torch.allclose(hidden, again, rtol=1e-3, atol=1e-4):
            raise UserError(
                f"teacher {self.spec.name!r}: the same image gives other features the second time (masking or dropout "
                "in the forward pass), so it cannot teach"
            )
        return read_features(self.spec, self.spec.grid(size), hidden, pooled)

    def _dry_size(self) -> Size:
        """A small legal input, oblong where the teacher allows it, so that swapped axes show."""
        if self.spec.fixed_size is not None:
            return self.spec.fixed_size
        lower, upper = self.spec.nearest_sizes(self.spec.min_size)
        return lower, upper

    @torch.no_grad()
    def _speed_up(self) -> None:
        """Fold frozen batch norms into convolutions and lay the weights out channels-last, as CPUs and GPUs like it."""
        size = self._dry_size()
        noise = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
        pixels = self.preprocessing.normalize(noise.to(self.device))
        fold_batch_norms(
            self._hidden[0], lambda: torch.cat([part.flatten() for part in self._encode(pixels) if part is not None])
        )
        self._hidden[0].to(memory_format=torch.channels_last)

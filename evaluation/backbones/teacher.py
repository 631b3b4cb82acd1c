"""Any vision model that can be a teacher as a backbone: its own preprocessing, its own summary and dense tokens."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from evaluation.backbones.backbone import FrameNetwork, Identity, NetworkBackbone, Role, Tokens
from training.errors import UserError
from training.teachers import Teacher, TeacherSpec, open_teacher
from training.teachers.checkpoint import fresh_model
from training.teachers.encoding import encode, encode_clips, read_features
from training.teachers.preprocessing import Preprocessing


class TeacherNetwork(FrameNetwork):
    """The model behind a teacher, trainable. One with a fixed input size gets the frames resized to it; all others get
    them as they are. A video model sees every frame as a clip of its own.
    """

    def __init__(
        self, spec: TeacherSpec, model: nn.Module, preprocessing: Preprocessing, widths: tuple[int, int]
    ) -> None:
        super().__init__()
        self.spec = spec
        self.model = model
        self.preprocessing = preprocessing
        self.widths = widths

    def check_size(self, image_size: int) -> None:
        """Raise `UserError` if the model cannot take square frames of `image_size` pixels."""
        if self.spec.fixed_size is None:
            self.spec.check_size((image_size, image_size))

    def forward(self, pixels: Tensor) -> Tokens:
        """Tokens of frames, float32; the arguments are those of `FrameNetwork`."""
        size = self.spec.fixed_size or (pixels.shape[-2], pixels.shape[-1])
        grid = self.spec.grid(size)
        shown = self.preprocessing.normalize(self.preprocessing.resize(pixels, size))
        if self.spec.kind == "video":
            hidden, pooled = encode_clips(self.model, shown, 1, self.spec.tubelet_size), None
        else:
            hidden, pooled = encode(self.model, shown, self.spec.dense_layer)
        output = read_features(self.spec, grid, hidden, pooled)
        assert output.dense is not None  # `TeacherBackbone` refuses a model without dense tokens
        summary = output.dense.new_zeros(len(pixels), 0) if output.summary is None else output.summary
        return Tokens(summary, output.dense)

    def fresh(self) -> "TeacherNetwork":
        """The architecture of the model's configuration with random weights."""
        config: Any = self.model.config
        return TeacherNetwork(self.spec, fresh_model(config), self.preprocessing, self.widths)


class TeacherBackbone(NetworkBackbone):
    """A vision model by teacher name, Hub id or folder."""

    def __init__(self, name_or_repo: str, device: torch.device, role: Role = "teacher") -> None:
        """Load and check it as a teacher is; `UserError` if there is none or it gives no dense tokens."""
        parts = open_teacher(name_or_repo)
        model = copy.deepcopy(parts.model)  # a teacher freezes its model and folds its norms
        teacher = Teacher(*parts)
        if teacher.dense_width is None:
            raise UserError(f"teacher {name_or_repo!r} gives no dense tokens; the benchmark needs them")
        widths = int(teacher.summary_width or 0), int(teacher.dense_width)
        facts = teacher.identity()
        identity = Identity(
            id=str(facts["repo"]),
            revision=facts["revision"],
            weights_sha256=facts["weights_sha256"],
            preprocessing_sha256=facts["preprocessing_sha256"],
        )
        network = TeacherNetwork(parts.spec, model, parts.preprocessing, widths)
        super().__init__(str(parts.spec.name), role, network, identity, device)

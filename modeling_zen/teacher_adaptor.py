"""Adaptors of a pretrained ZEN: its tokens brought into the feature space of a model that taught it."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.utils.hub import cached_file

FOLDER = "adaptors"  # of a model folder; adaptors/<teacher>_<tokens>.safetensors


class TeacherAdaptor(torch.nn.Module):
    """Linear, LayerNorm, GELU, Linear in float32: the head of one teacher with the inverse of its normaliser folded in.

    A transformer block stands in front where the run gave the head one.

        model = AutoModel.from_pretrained(folder)
        adaptor = TeacherAdaptor.from_pretrained(folder, "dinov2", "summary")
        features = adaptor(model(pixel_values=pixels).pooler_output)  # as DINOv2 itself would give

    Where every teacher had a summary token of its own, `facts["summary_token"]` says which:
    `model.summary_tokens(last_hidden_state)[:, number]`.

    Attributes:
        facts: who the teacher is (repository, commit, licence, preprocessing), JSON values.
    """

    def __init__(self, hidden_size: int, width: int, teacher_width: int, facts: dict[str, Any]) -> None:
        super().__init__()
        self.block: torch.nn.Module = torch.nn.Identity()
        if heads := facts.get("block_heads", 0):
            self.block = torch.nn.TransformerEncoderLayer(
                hidden_size, heads, 4 * hidden_size, 0.0, "gelu", batch_first=True, norm_first=True
            )
        self.fc1 = torch.nn.Linear(hidden_size, width)
        self.norm = torch.nn.LayerNorm(width)
        self.fc2 = torch.nn.Linear(width, teacher_width)
        self.facts = facts

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens `(..., hidden)` of the student, such as `pooler_output`, to float32 `(..., teacher width)`.

        Dense tokens are `(batch, tokens, hidden)`.
        """
        return self.fc2(torch.nn.functional.gelu(self.norm(self.fc1(self.block(tokens.float())))))

    @classmethod
    def from_pretrained(
        cls, folder_or_id: str | Path, teacher: str, tokens: str = "summary", revision: str | None = None
    ) -> "TeacherAdaptor":
        """Load an adaptor, in evaluation mode.

        Args:
            folder_or_id: of the model that it belongs to.
            teacher: its name in the run.
            tokens: "summary" or "dense".
            revision: commit, tag or branch on the Hub.

        Raises:
            OSError: there is no such adaptor.
            ValueError: the file is damaged or holds something else.
        """
        name = f"{FOLDER}/{teacher}_{tokens}.safetensors"
        file = cached_file(str(folder_or_id), name, revision=revision)
        try:
            with safe_open(file, framework="pt") as opened:
                facts = json.loads(opened.metadata()["adaptor"])
                state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
            width, hidden = state["adaptor.fc1.weight"].shape
            adaptor = cls(hidden, width, len(state["adaptor.fc2.weight"]), facts)
            adaptor.load_state_dict({key.removeprefix("adaptor."): part for key, part in state.items()}, strict=True)
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(f"{name} of {str(folder_or_id)!r} is not an adaptor: {error}") from error
        return adaptor.eval()

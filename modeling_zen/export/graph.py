"""From a `ZenModel` to an ONNX graph with the inputs and outputs that `ZenExportedModel` expects."""

import copy
import warnings
from pathlib import Path

import torch
from torch import nn

from modeling_zen.export.packages import import_optional
from modeling_zen.modeling_zen import ZenModel

INPUT = "pixel_values"
OUTPUTS = ("last_hidden_state", "pooler_output")


class _TwoOutputs(nn.Module):
    """The model with a tuple in place of its output class."""

    def __init__(self, model: ZenModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        output = self.model(pixel_values)
        return output.last_hidden_state, output.pooler_output


def for_export(model: ZenModel) -> ZenModel:
    """A copy of `model` as it is exported: float32, on the CPU, in evaluation mode, with fused attention."""
    plain = copy.deepcopy(model).float().cpu().eval()
    plain.set_attn_implementation("sdpa")
    return plain


def write_onnx(model: ZenModel, path: Path, size: tuple[int, int] | None) -> None:
    """Trace `model` and write it as ONNX in float32, any batch size.

    Args:
        model: As `for_export` gives it.
        path: The file to write.
        size: (height, width) in pixels, fixed in the graph, which then holds the rotary positions as constants; `None`
            computes them from the size of each batch.

    Raises:
        ImportError: onnx or onnxscript is missing.
        ValueError: `size` is no multiple of the patch, or is `None` for a model with learned positions.
    """
    import_optional("onnx")
    import_optional("onnxscript")
    if size is None and model.config.position_embedding != "rotary":
        raise ValueError(
            f"a model with {model.config.position_embedding} positions is exported for one size only: which positions "
            "are interpolated is decided per size, and a graph cannot; give a size"
        )
    patch = model.config.patch_size
    # An example that is no square and no single patch, so that no two of its sides are taken for the same one.
    height, width = size or (3 * patch, 5 * patch)
    model.config.grid_size(height, width)
    example = torch.zeros(2, model.config.num_channels, height, width)
    free = [0] if size else [0, 2, 3]
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer warns that transformers notes, during a forward, which outputs are asked for; none are.
        warnings.filterwarnings("ignore", message="While compiling, we found certain side effects")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        program = torch.export.export(
            _TwoOutputs(model).eval(),
            (example,),
            dynamic_shapes={INPUT: dict.fromkeys(free, torch.export.Dim.DYNAMIC)},
            strict=True,  # the lenient tracer takes `len(tensor)` for a constant and so would fix the batch size
        )
        graph = torch.onnx.export(
            program,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            external_data=False,
            verbose=False,
        )
    assert graph is not None  # only without `dynamo` it is
    for node in graph.model.graph.all_nodes():
        node.metadata_props.clear()  # lines of this code, with the paths of this machine
    graph.save(path)

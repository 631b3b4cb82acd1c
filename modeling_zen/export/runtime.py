"""`ZenExportedModel`: an exported folder that is called like a `ZenModel` and answers with the same output class."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from modeling_zen.configuration_zen import ZenConfig
from modeling_zen.export.graph import INPUT, OUTPUTS
from modeling_zen.export.packages import import_optional
from modeling_zen.modeling_zen import ZenModel, check_pixel_values

FACTS = "export.json"
GRAPHS = {"onnx": "model.onnx", "openvino": "openvino_model.xml"}
Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class ZenExportedModel(nn.Module):
    """A ZEN encoder as an ONNX or OpenVINO graph on the CPU; stands where a `ZenModel` in evaluation mode would.

    It can be called from several threads at once. It has no weights that torch could see: no gradients pass, and it
    stays on the CPU in float32 (whatever the precision inside, inputs and outputs are float32).

    Example:
        >>> model = ZenExportedModel.from_pretrained("exported")  # doctest: +SKIP
        >>> outputs = model(pixel_values)  # doctest: +SKIP
        >>> model.dense_tokens(outputs.last_hidden_state, 224, 224)  # doctest: +SKIP

    Attributes:
        config: The `ZenConfig` of the model it was made from.
        facts: What `export.json` says: format, precision, input size, versions, parity.
        size: (height, width) that the graph is fixed to, in pixels; `None` if it takes every multiple of the patch.
    """

    main_input_name = INPUT
    base_model_prefix = "zen"

    def __init__(self, config: ZenConfig, facts: dict[str, Any], run: Run) -> None:
        super().__init__()
        self.config = config
        self.facts = facts
        height, width = facts["input"]["height"], facts["input"]["width"]
        self.size: tuple[int, int] | None = None if height is None else (height, width)
        self._run = run
        self.eval()

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], *, num_threads: int | None = None) -> Self:
        """Load what `export_model` wrote.

        Args:
            folder: The folder.
            num_threads: Threads per call; `None` leaves it to the runtime, which takes one per core.

        Raises:
            FileNotFoundError: There is no such folder.
            ImportError: onnxruntime or openvino is missing.
            ValueError: It was not written by `export_model`, or a file of it is cut off or damaged.
        """
        path = Path(folder)
        if num_threads is not None and num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, not {num_threads}")
        facts = read_facts(path)
        config = ZenConfig.from_pretrained(path)
        graph = path / GRAPHS[facts["format"]]
        load = _load_onnx if facts["format"] == "onnx" else _load_openvino
        return cls(config, facts, load(graph, num_threads))

    def forward(self, pixel_values: torch.Tensor, **kwargs: Any) -> Any:
        """Encode a batch of frames; arguments, result and errors are those of `ZenModel.forward`.

        Args:
            pixel_values: (batch, channels, height, width), floating point, normalised as `ZenImageProcessor` does.
            kwargs: `return_dict`; whatever else asks for more than the graph returns is refused.

        Returns:
            `BaseModelOutputWithPooling` with last_hidden_state (batch, tokens, hidden) and pooler_output (batch,
            hidden), float32; a tuple of the two with `return_dict=False`.

        Raises:
            ValueError: Like `ZenModel`; also another size than the one the graph is fixed to.
        """
        as_output = kwargs.pop("return_dict", True)
        refused = [name for name, value in kwargs.items() if value]
        if refused:
            raise ValueError(
                "an exported model returns last_hidden_state and pooler_output only; "
                f"{', '.join(refused)} needs ZenModel"
            )
        check_pixel_values(pixel_values, self.config)
        height, width = pixel_values.shape[-2:]
        if self.size is not None and (height, width) != self.size:
            raise ValueError(
                f"this model was exported for images of {self.size[0]} x {self.size[1]} pixels (height x width), not "
                f"{height} x {width}; export it with size=None to take every multiple of the patch"
            )
        pixels = pixel_values.detach().to("cpu", torch.float32).contiguous().numpy()
        states, pooled = (torch.from_numpy(array) for array in self._run(pixels))
        output = BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=pooled)
        return output if as_output in (True, None) else output.to_tuple()

    def summary_tokens(self, last_hidden_state: torch.Tensor) -> torch.Tensor:
        """As `ZenModel.summary_tokens`."""
        return ZenModel.summary_tokens(self, last_hidden_state)  # type: ignore[arg-type]  # reads the config only

    def dense_tokens(self, last_hidden_state: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """As `ZenModel.dense_tokens`."""
        return ZenModel.dense_tokens(self, last_hidden_state, height, width)  # type: ignore[arg-type]

    @property
    def device(self) -> torch.device:
        """Always the CPU."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of what goes in and comes out: float32."""
        return torch.float32

    def can_generate(self) -> bool:
        """False; pipelines of transformers ask."""
        return False

    def train(self, mode: bool = True) -> Self:
        """Refused with `mode`: a graph has no training mode."""
        if mode:
            raise ValueError("an exported model cannot be trained; train the ZenModel and export it again")
        return super().train(False)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Itself for the CPU and float32.

        Raises:
            ValueError: Any other device or dtype.
        """
        device, dtype = torch._C._nn._parse_to(*args, **kwargs)[:2]
        if (device is not None and device.type != "cpu") or dtype not in (None, torch.float32):
            raise ValueError(f"an exported model runs on the CPU in float32, not on {device or 'cpu'} in {dtype}")
        return self


def read_facts(folder: Path) -> dict[str, Any]:
    """`export.json` of a folder, once all files it lists are known to be there in full.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: Not such a folder, or files are missing or of another size than they were written.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    path = folder / FACTS
    if not path.is_file():
        raise ValueError(f"{folder} is no exported model: it holds no {FACTS}; export_model writes such folders")
    try:
        facts = json.loads(path.read_text())
        files, known = facts["files"], facts["format"] in GRAPHS and facts["input"].keys() >= {"height", "width"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as the facts of an exported model: {error!r}") from error
    if not known:
        raise ValueError(f"{path} names the format {facts['format']!r}; this version knows {', '.join(GRAPHS)}")
    for name, size in files.items():
        found = (folder / name).stat().st_size if (folder / name).is_file() else 0
        if found != size:
            raise ValueError(f"{folder / name} is incomplete: it has {found} of {size} bytes; export or copy it again")
    return facts


def _load_onnx(path: Path, num_threads: int | None) -> Run:
    runtime = import_optional("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised anyway
    options.intra_op_num_threads = num_threads or 0
    # Threads that spin while they wait take the cores from decoding and from other models.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base
        _refuse(path, error)
    return lambda pixels: tuple(session.run(list(OUTPUTS), {INPUT: pixels}))


def _load_openvino(path: Path, num_threads: int | None) -> Run:
    openvino = import_optional("openvino")
    # By itself OpenVINO takes bfloat16 where a CPU has it: another result than elsewhere, and slower without AMX.
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if num_threads is not None:
        settings["INFERENCE_NUM_THREADS"] = num_threads
    try:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    except Exception as error:  # openvino raises RuntimeError or its own, depending on the version
        _refuse(path, error)

    def run(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        request = compiled.create_infer_request()  # one per call: a request serves one thread at a time
        results = request.infer({INPUT: pixels})
        return results[OUTPUTS[0]], results[OUTPUTS[1]]

    return run


def _refuse(path: Path, error: Exception) -> NoReturn:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise ValueError(f"{path} cannot be loaded, it is damaged or of a newer version: {reason}") from error

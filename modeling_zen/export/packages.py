"""The optional packages that exporting needs, imported when they are first needed."""

import importlib
import sys
from typing import Any


def import_optional(name: str) -> Any:
    """The module `name`, such as `"onnxruntime.quantization"`.

    openvino and nncf report their use to Google Analytics when they are imported, without asking. Software that runs in
    a hospital must not, so the package through which they do is kept from being imported; both do without it.

    Raises:
        ImportError: The package is not installed.
    """
    package = name.partition(".")[0]
    if package in ("openvino", "nncf"):
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: "cannot be imported"
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"exported models need the package {package}, which cannot be imported ({error}): "
            'pip install "zen-surgical[export]"'
        ) from error

"""`python -m modeling_zen.export MODEL OUTPUT`: write a ZEN model as ONNX or OpenVINO and print what it lost."""

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modeling_zen.export.exporter import MIN_CALIBRATION, PRECISIONS, export_model
from modeling_zen.export.frames import DEFAULT_FRAMES
from modeling_zen.export.runtime import FACTS, GRAPHS


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, export, print; a mistake of the user is one line on stderr and exit code 2."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        calibration = given.calibration
        folder = export_model(
            given.model,
            given.output,
            format=given.format,
            precision=given.precision,
            size=_size(given.size),
            # One folder stays a folder, below which there may be one per class.
            calibration=calibration[0] if calibration and len(calibration) == 1 else calibration,
            labeled=given.labeled,
            max_frames=given.max_frames,
            min_cosine=given.min_cosine,
        )
    except (ValueError, OSError, ImportError) as error:
        parser.exit(2, f"error: {error}\n")
    print(json.dumps(json.loads((folder / FACTS).read_text())["parity"], indent=2))
    print(f"exported to {folder}; load it with ZenExportedModel.from_pretrained({str(folder)!r})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m modeling_zen.export", description=__doc__)
    parser.add_argument("model", help="folder or Hub id of a ZEN model")
    parser.add_argument("output", type=Path, help="folder to write; must not exist")
    parser.add_argument("--format", default="onnx", help=f"{' or '.join(GRAPHS)} (default: onnx)")
    parser.add_argument("--precision", default="fp32", help=f"{' or '.join(PRECISIONS)} (default: fp32)")
    parser.add_argument(
        "--size", default="processor", help="224, 224x320 (height x width), any, or that of the processor (default)"
    )
    parser.add_argument(
        "--calibration",
        nargs="+",
        metavar="PATH",
        help=f"real frames: a folder, images or videos, at least {MIN_CALIBRATION} frames; int8 needs them",
    )
    parser.add_argument("--labeled", action="store_true", help="folders right below PATH are classes: probe them too")
    parser.add_argument("--max-frames", type=int, default=DEFAULT_FRAMES, help="frames to take (default: %(default)s)")
    parser.add_argument("--min-cosine", type=float, help="least mean cosine to accept (default: 0.99 for int8)")
    return parser


def _size(text: str) -> Any:
    if text == "processor":
        return text
    if text == "any":
        return None
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if not found:
        raise ValueError(f"--size must be 224, 224x320 (height x width), any or processor, not {text!r}")
    return int(found[1]), int(found[2] or found[1])


if __name__ == "__main__":
    main()

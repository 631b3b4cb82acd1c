"""ZEN as an ONNX or OpenVINO graph for CPUs: `export_model` writes a folder, `ZenExportedModel` runs it."""

from modeling_zen.export.exporter import export_model
from modeling_zen.export.frames import load_frames
from modeling_zen.export.parity import parity_report
from modeling_zen.export.runtime import ZenExportedModel

__all__ = ["ZenExportedModel", "export_model", "load_frames", "parity_report"]

"""The export of a trained head with its encoder, as one ONNX model that runs without us."""

from .exported_model import ExportedModel, export_controls

__all__ = ["ExportedModel", "export_controls"]

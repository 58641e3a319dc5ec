"""From trained torch modules to a checked ONNX bundle."""

from nav_offrl_export.bundle import export_bundle
from nav_offrl_export.camera import fit_camera
from nav_offrl_export.modules import Modules

__all__ = ["Modules", "export_bundle", "fit_camera"]

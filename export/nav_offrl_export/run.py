"""From a trained run to a bundle."""

from pathlib import Path

from nav_offrl.runtime.contract import BundleContract
from nav_offrl.training.trained_policy import TrainedPolicy
from nav_offrl_export.bundle import export_bundle
from nav_offrl_export.camera import fit_camera
from nav_offrl_export.modules import Modules

COMPARED_FRAMES = 32


def export_run(
    policy: TrainedPolicy,
    output: Path,
    *,
    overwrite: bool = False,
    camera_height: int | None = None,
    camera_width: int | None = None,
) -> BundleContract:
    """Export a loaded run for a camera of the given size (pixels; default: the store's).

    Raises:
        NavOffrlError: as `export_bundle`, or the camera's aspect ratio is another.
    """
    fields, images = fit_camera(
        policy.contract_fields, policy.sample_images(COMPARED_FRAMES), camera_height, camera_width
    )
    modules = Modules(policy.encoder_module(), policy.policy_module(), policy.distance_module())
    return export_bundle(modules, fields, output, images, overwrite=overwrite)

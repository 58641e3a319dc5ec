"""Decode a store's frames once into its training tier: small raw frames, memory-mapped.

`train` does this by itself the first time; this does it ahead, with the same preprocessing that
the exported graph has. The tier lies in STORE/derived (of a URL, in the user's cache) and can be
deleted at any time. Episodes that were added since are decoded and the others stay; another
preprocessing builds it anew. Ctrl-C keeps what is done.

Examples:
  nav-offrl materialize drives.zarr
  nav-offrl materialize drives.zarr --height 96 --width 96
"""

from dataclasses import dataclass

import tyro


@dataclass
class Args:
    """Arguments of `nav-offrl materialize`."""

    store: tyro.conf.Positional[str]
    """the log store: path or URL"""
    camera: str = "front"
    """which camera"""
    height: int = 48
    """pixels of the training frames"""
    width: int = 64
    """pixels of the training frames"""


def run(args: Args) -> None:
    """Build the tier, or find that it is current."""
    from nav_offrl.config import parse_config
    from nav_offrl.networks.encoder import EncoderConfig
    from nav_offrl.store.reader import Store
    from nav_offrl.training.data import training_tier

    size = parse_config(
        EncoderConfig, {"height": args.height, "width": args.width}, "--height, --width"
    )
    tier = training_tier(Store.open(args.store), args.camera, size)
    rows, height, width, _ = tier.frames.shape
    print(f"training tier: {len(tier.row_of_step)} frames of {height}x{width} in {rows} rows")

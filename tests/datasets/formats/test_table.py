"""Every row of the table of formats is an importer."""

from pathlib import Path

import pytest

from nav_offrl_datasets import formats


@pytest.mark.parametrize("row", formats.FORMATS, ids=lambda row: row.name)
def test_every_format_of_the_table_is_an_importer(row: formats.Format, tmp_path: Path) -> None:
    importer = formats.named(row.name)
    assert row.name == importer.FORMAT
    assert importer.recognises(tmp_path) is False
    assert all(callable(getattr(importer, part)) for part in ("sources", "layout", "read"))

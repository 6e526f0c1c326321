"""Fixtures that every kind of test shares."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of reference data beside the repository; the test skips where there is none."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the reference data is not here: {folder} does not exist")
    return folder

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.control_plane.importer.tiny_model import write_directory


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A sound Hugging Face directory."""
    return write_directory(tmp_path / "source")


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def change_json() -> Callable[..., None]:
    """Set fields of a JSON file; a field that is None is removed."""

    def change(path: Path, **fields: Any) -> None:
        document = json.loads(path.read_text()) | fields
        path.write_text(json.dumps({k: v for k, v in document.items() if v is not None}))

    return change

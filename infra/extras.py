"""How to get the parts of Tamer that are installed only where they are wanted."""

from __future__ import annotations

import sys
from pathlib import Path

import infra


def install_command(extra: str) -> str:
    """What to type for an extra of `pyproject.toml`, in this very environment.

    Never `tamer[...]` alone: on the package index that name is another project's.
    """
    checkout = Path(infra.__file__).parents[1]
    if (checkout / "pyproject.toml").is_file():
        return (
            f"{sys.executable} -m pip install -c '{checkout}/constraints.txt' "
            f"-e '{checkout}[{extra}]'"
        )
    return f"install the wheel of Tamer again with its extra '{extra}', into {sys.prefix}"

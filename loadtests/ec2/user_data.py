"""The user data of `terraform/modules/gpu_workers`, rendered as Terraform renders it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path

_TEMPLATE = Path(__file__).resolve().parents[2] / "terraform/modules/gpu_workers/user_data.sh.tftpl"
_LOOP = re.compile(r"%\{ for .*? ~\}\n(.*?)%\{ endfor ~\}\n", re.DOTALL)
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)\}")


def rendered(environment: Mapping[str, str], wheel_url: str = "", container_image: str = "") -> str:
    """The script, with the settings of every agent that the module writes into it."""
    text = _TEMPLATE.read_text()
    text = _LOOP.sub(lambda found: _each(found[1], environment), text)
    text = _filled(text, {"wheel_url": wheel_url, "container_image": container_image})
    return text.replace("$${", "${")


def template_user_data(environment: Mapping[str, str]) -> str:
    """As a launch template holds it."""
    return base64.b64encode(rendered(environment).encode()).decode()


def _each(body: str, environment: Mapping[str, str]) -> str:
    """Terraform goes through a map in the order of its keys."""
    return "".join(
        _filled(body, {"name": name, "value": value}) for name, value in sorted(environment.items())
    )


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: values[found[1]], text)

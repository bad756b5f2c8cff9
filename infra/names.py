"""What may stand in paths and host names: names of deployments and tenants; names of clouds."""

from __future__ import annotations

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
NAME_RULE = (
    "must be lower-case letters, digits and hyphens, at most 63, "
    "not starting or ending with a hyphen"
)
"""The pattern, for people."""

LOCAL_CLOUD = "local"
"""Processes of the control plane's own machine."""
JOINED_CLOUD = "joined"
"""Machines that came by joining: nobody launches them, nobody terminates them, and they stay when
they are empty."""
AWS_CLOUD = "aws"
"""EC2."""

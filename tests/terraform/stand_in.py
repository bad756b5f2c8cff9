"""`python -m tests.terraform.stand_in PORT`: moto, told two things that AWS does otherwise."""

from __future__ import annotations

import json
import sys
from typing import Any

from moto.ec2.models.launch_templates import LaunchTemplateVersion
from moto.server import main
from moto.sqs.models import Queue


def _forget_tags_of_the_template() -> None:
    """A template's own tags are no part of what it launches; moto would tell them as such."""
    initialise = LaunchTemplateVersion.__init__

    def without_them(self: Any, *arguments: Any, **named: Any) -> None:
        initialise(self, *arguments, **named)
        told = self.data.get("TagSpecifications", [])
        told[:] = [each for each in told if each.get("ResourceType") != "launch-template"]

    LaunchTemplateVersion.__init__ = without_them


def _tell_redrive_policies_as_they_were_given() -> None:
    """moto writes spaces into them, which a plan would want to change back."""
    tell = Queue.attributes.fget

    def compact(self: Any) -> dict[str, Any]:
        told: dict[str, Any] = tell(self)
        if told.get("RedrivePolicy"):
            policy = json.loads(told["RedrivePolicy"])
            told["RedrivePolicy"] = json.dumps(policy, separators=(",", ":"))
        return told

    Queue.attributes = property(compact)


if __name__ == "__main__":
    _forget_tags_of_the_template()
    _tell_redrive_policies_as_they_were_given()
    main(["-H", "127.0.0.1", "-p", sys.argv[1]])

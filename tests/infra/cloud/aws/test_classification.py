"""What AWS says, as types."""

from __future__ import annotations

import pytest

from infra.cloud.aws.classification import by_code
from infra.cloud.base import CloudPool, Market
from infra.cloud.refusals import (
    CredentialsExpired,
    Denied,
    InsufficientCapacity,
    Malformed,
    QuotaReached,
    Refusal,
)

KIND, ZONE = "g6.xlarge", "us-east-1a"


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("AuthFailure", "Not authorized for images: [ami-1]", Denied),
        (
            "AuthFailure",
            "AWS was not able to validate the provided access credentials",
            CredentialsExpired,
        ),
        ("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "The provided credentials", Denied),
        ("MaxFleetCountExceeded", "You've reached your quota", QuotaReached),
        ("MaxSpotFleetRequestCountExceeded", "You've reached your quota", QuotaReached),
        (
            "InvalidFleetConfiguration",
            "Your requested instance type (g6.xlarge) is not supported in your requested "
            "Availability Zone (us-east-1e).",
            InsufficientCapacity,
        ),
        ("InvalidFleetConfiguration", "The fleet configuration is invalid.", Malformed),
    ],
)
def test_what_a_code_means_depends_on_what_is_said_with_it(
    code: str, message: str, kind: type[Refusal]
) -> None:
    assert type(by_code(code, message, [CloudPool(KIND, ZONE, Market.SPOT)])) is kind

"""Why a cloud refused, as types: what placement learns from and what the operation does next.

`retryable` says whether the same request may succeed later without anybody choosing another place;
what is not ends the launch, and placement decides anew with what `pools` tells.
"""

from __future__ import annotations

from collections.abc import Sequence

from infra.cloud.base import CloudError, CloudPool


class Refusal(CloudError):
    """A `CloudError` whose type says why."""

    may_pass = False

    def __init__(self, message: str, pools: Sequence[CloudPool] = ()) -> None:
        super().__init__(message, retryable=self.may_pass)
        self.pools = tuple(pools)
        """Where it was tried; empty for a refusal that speaks of no pool."""
        self.code = ""
        """The cloud's own name for it, where it has one."""

    @property
    def is_spent(self) -> bool:
        """It may pass, and this request has been made as often as it may be: another would do."""
        return self.may_pass and not self.retryable


class InsufficientCapacity(Refusal):
    """These pools have no machine to give now, or not at our price."""


class QuotaReached(Refusal):
    """The account may not have more of this; asking again before the quota grows is useless."""


class Malformed(Refusal):
    """The request itself is wrong: a setting, a template, a name."""


class Denied(Refusal):
    """The credentials are good, but may not do this."""


class CredentialsMissing(Refusal):
    """Nobody gave this process credentials. Retryable: giving them is enough."""

    may_pass = True


class CredentialsExpired(Refusal):
    """The cloud does not accept the credentials. Retryable: renewing them is enough."""

    may_pass = True


class Throttled(Refusal):
    """Too many calls, by the cloud's count or by our own budget."""

    may_pass = True


class CloudAway(Refusal):
    """No answer, or an answer that says nothing."""

    may_pass = True

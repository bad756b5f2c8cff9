"""What the hub and the way to it say, as refusals that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from control_plane.importer.errors import (
    DownloadBroke,
    DownloadFailed,
    ImportRefused,
    NotAllowed,
    SourceMissing,
)
from control_plane.importer.hub_source import HubSource

_TRANSIENT = frozenset({408, 425, 429})


@contextmanager
def our_errors(source: HubSource, endpoint: str, with_token: bool) -> Iterator[None]:
    """Raises ImportRefused; DownloadBroke where another try may go well."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise DownloadFailed("HF_HUB_OFFLINE is set here: unset it to reach the hub") from error
    except HfHubHTTPError as error:
        raise _refusal(error, source, endpoint, with_token) from error
    except httpx2.HTTPError as error:
        said = str(error) or type(error).__name__
        raise DownloadBroke(
            f"{endpoint} broke off or cannot be reached ({said}): check the network and "
            "TAMER_HF_ENDPOINT"
        ) from error


def _refusal(
    error: HfHubHTTPError, source: HubSource, endpoint: str, with_token: bool
) -> ImportRefused:
    page, status = f"{endpoint}/{source.repository}", error.response.status_code
    if isinstance(error, GatedRepoError):
        return NotAllowed(
            f"{source.repository} is gated: accept its terms at {page}, then "
            "set TAMER_HF_TOKEN to a token of that account"
        )
    if isinstance(error, RevisionNotFoundError):
        return SourceMissing(
            f"{source.repository} has no revision {source.revision!r}: see {page}/commits"
        )
    if isinstance(error, DisabledRepoError):
        return NotAllowed(f"the hub has disabled {source.repository}: name another model")
    if isinstance(error, RepositoryNotFoundError):
        return SourceMissing(_unseen(source, endpoint, with_token))
    if status == httpx2.codes.UNAUTHORIZED:
        return NotAllowed(f"{endpoint} does not know the token: set TAMER_HF_TOKEN to a valid one")
    if status == httpx2.codes.FORBIDDEN:
        return NotAllowed(
            f"the token may not read {source.repository}: give it read access at "
            f"{endpoint}/settings/tokens"
        )
    if status == httpx2.codes.NOT_FOUND:
        return SourceMissing(f"{page} has no such file or revision: check the name")
    said = f"{endpoint} answered {status} for {source.repository}"
    if status in _TRANSIENT or status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        return DownloadBroke(f"{said}: try again later")
    return DownloadFailed(f"{said}: check TAMER_HF_ENDPOINT")


def _unseen(source: HubSource, endpoint: str, with_token: bool) -> str:
    """The hub does not tell what is missing from what is private."""
    what_else = (
        "or the token of TAMER_HF_TOKEN may not see it"
        if with_token
        else "or it is private: set TAMER_HF_TOKEN"
    )
    return f"there is no model {source.repository} on {endpoint}: check the name, {what_else}"

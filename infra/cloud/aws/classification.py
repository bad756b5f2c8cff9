"""What AWS and the way to it say, as types of refusal.

The codes are those of EC2's API reference, "Error codes for the Amazon EC2 API", and what
CreateFleet reports of single pools.
"""

from __future__ import annotations

from collections.abc import Sequence

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from infra.cloud.base import CloudPool
from infra.cloud.refusals import (
    CloudAway,
    CredentialsExpired,
    CredentialsMissing,
    Denied,
    InsufficientCapacity,
    Malformed,
    QuotaReached,
    Refusal,
    Throttled,
)

IDEMPOTENCY_MISMATCH = "IdempotentParameterMismatch"

_CAPACITY = frozenset(
    {
        *("InsufficientInstanceCapacity", "InsufficientHostCapacity", "UnfulfillableCapacity"),
        *("InsufficientReservedInstanceCapacity", "InsufficientFreeAddressesInSubnet"),
        *("SpotMaxPriceTooLow", "Unsupported", "InsufficientCapacity"),
    }
)
_QUOTA = frozenset(
    {
        *("VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded"),
        *("VolumeLimitExceeded", "MaxIOPSLimitExceeded", "FleetLimitExceeded", "LimitExceeded"),
        *("PendingVerification", "AddressLimitExceeded", "NetworkInterfaceLimitExceeded"),
        *("MaxFleetCountExceeded", "MaxSpotFleetRequestCountExceeded"),
    }
)
_THROTTLED = frozenset(
    {
        *("RequestLimitExceeded", "Throttling", "ThrottlingException", "EC2ThrottledException"),
        *("TooManyRequestsException", "SlowDown", "RequestThrottled", "PriorRequestNotComplete"),
    }
)
_UNACCEPTED = frozenset(
    {
        *("ExpiredToken", "ExpiredTokenException", "RequestExpired", "AuthFailure"),
        *("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch"),
        *("InvalidAccessKeyId", "IncompleteSignature", "MissingAuthenticationToken"),
    }
)
_DENIED = frozenset(
    {"UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "OptInRequired", "Blocked"}
)
_NO_RIGHT = "AuthFailure."
"""How codes of single rights begin, such as that to make EC2's own role for spot instances."""
_NOT_OURS = "Not authorized for "
"""How AuthFailure speaks of what belongs to another account, an image say."""
_NOT_SOLD = "is not supported in your requested Availability Zone"
"""How InvalidFleetConfiguration speaks of a single pool."""
NOT_KNOWN = "InvalidInstanceID.NotFound"
"""Of what another answer has just shown: EC2's servers need not know the same yet."""
_AWAY = frozenset(
    {"InternalError", "InternalFailure", "Unavailable", "ServiceUnavailable", NOT_KNOWN}
)
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, ProfileNotFound)
_UNRENEWED = (CredentialRetrievalError, TokenRetrievalError, UnauthorizedSSOTokenError)


def refusal_of(
    error: ClientError | BotoCoreError | ResponseParserError, pools: Sequence[CloudPool] = ()
) -> Refusal:
    """An error that boto3 raised."""
    if isinstance(error, ClientError):
        said = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return by_code(str(said.get("Code", "")), str(said.get("Message", "")), pools, status)
    if isinstance(error, _NO_CREDENTIALS):
        return CredentialsMissing(
            f"no AWS credentials ({error}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or give this machine a role"
        )
    if isinstance(error, _UNRENEWED):
        return CredentialsExpired(f"the AWS credentials cannot be renewed ({error}): log in again")
    if isinstance(error, NoRegionError):
        return Malformed("no AWS region: set TAMER_AWS_REGION")
    if isinstance(error, ResponseParserError):
        said = str(error).partition("\n")[0]
        return CloudAway(f"an answer is not as AWS writes it ({said}): is there a proxy between?")
    if isinstance(error, ParamValidationError):
        return Malformed(f"boto3 refuses the request: {error}")
    return CloudAway(f"AWS does not answer ({error}): check the network and TAMER_AWS_ENDPOINT_URL")


def by_code(
    code: str, message: str, pools: Sequence[CloudPool] = (), http_status: int = 0
) -> Refusal:
    """An error by AWS's own name for it; `http_status` decides where that is unknown."""
    said = f"{code}: {message}" if code else message
    if code.startswith(_NO_RIGHT) or (code == "AuthFailure" and message.startswith(_NOT_OURS)):
        refusal: Refusal = _denied(said, pools)
    elif code == "InvalidFleetConfiguration" and _NOT_SOLD in message:
        refusal = _no_capacity(said, pools)
    else:
        refusal = _typed(code, said, pools, http_status)
    refusal.code = code
    return refusal


def _typed(code: str, said: str, pools: Sequence[CloudPool], http_status: int) -> Refusal:
    if code in _CAPACITY:
        return _no_capacity(said, pools)
    if code in _QUOTA:
        return QuotaReached(f"a quota of the AWS account is reached ({said})", pools)
    if code in _THROTTLED:
        return Throttled(f"AWS asks for fewer calls ({said})", pools)
    if code in _UNACCEPTED:
        return CredentialsExpired(f"AWS does not accept the credentials ({said}): renew them")
    if code in _DENIED:
        return _denied(said, pools)
    if code in _AWAY or http_status >= 500 or not (code or http_status):
        return CloudAway(f"AWS could not answer ({said or http_status})", pools)
    return Malformed(f"AWS refuses the request ({said or http_status})", pools)


def _no_capacity(said: str, pools: Sequence[CloudPool]) -> Refusal:
    return InsufficientCapacity(f"no capacity ({said})", pools)


def _denied(said: str, pools: Sequence[CloudPool]) -> Refusal:
    return Denied(f"AWS does not allow it ({said}): see the control plane's role", pools)

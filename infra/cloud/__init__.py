"""Clouds: one protocol (`base`), one adapter for each provider."""

from __future__ import annotations

from infra.cloud.base import Cloud
from infra.extras import install_command
from infra.names import AWS_CLOUD, JOINED_CLOUD, LOCAL_CLOUD
from infra.settings import Settings


class UnknownCloud(ValueError):
    """`TAMER_CLOUD` names no adapter."""


def open_cloud(settings: Settings) -> Cloud:
    """The adapter that `TAMER_CLOUD` names; the caller closes it, in the event loop that used it.

    Raises:
        UnknownCloud: there is no adapter of that name.
    """
    if settings.cloud == LOCAL_CLOUD:
        from infra.cloud.local.client import LocalCloud

        return LocalCloud(settings.cloud_socket)
    if settings.cloud == JOINED_CLOUD:
        from infra.cloud.joined import JoinedCloud

        return JoinedCloud()
    if settings.cloud == AWS_CLOUD:
        return _open_aws(settings)
    raise UnknownCloud(
        f"TAMER_CLOUD={settings.cloud!r}: use '{LOCAL_CLOUD}', '{AWS_CLOUD}', or '{JOINED_CLOUD}' "
        "for machines that join and no others"
    )


def _open_aws(settings: Settings) -> Cloud:
    try:
        from infra.cloud.aws.client import AwsCloud
    except ImportError as error:
        raise UnknownCloud(
            f"TAMER_CLOUD={AWS_CLOUD} needs boto3 ({error}); get it with: {install_command('aws')}"
        ) from error
    return AwsCloud(settings)

"""The cloud that this machine's settings name, and whether its machines could reach us."""

from __future__ import annotations

from collections.abc import Iterator

from control_plane.cli.doctor.finding import Finding, fail, ok, warn
from infra.address import is_loopback
from infra.cloud import UnknownCloud, open_cloud
from infra.cloud.base import CloudError, CloudInstanceState
from infra.names import AWS_CLOUD
from infra.settings import Settings

_GONE = (CloudInstanceState.STOPPING, CloudInstanceState.TERMINATED)


async def examine_cloud(settings: Settings) -> list[Finding]:
    """Nothing where machines are processes, or join: those say themselves what is wrong."""
    if settings.cloud != AWS_CLOUD:
        return []
    return [await _answers(settings), *_reach(settings)]


async def _answers(settings: Settings) -> Finding:
    try:
        cloud = open_cloud(settings)
    except UnknownCloud as error:
        return fail("cloud", str(error))
    try:
        found = await cloud.describe()
    except CloudError as error:
        return fail("cloud", str(error))
    finally:
        await cloud.close()
    alive = [each for each in found if each.state not in _GONE]
    nameless = [each.cloud_id for each in alive if not each.instance_id]
    said = f"EC2 answers; {len(alive)} machines of '{settings.aws_owner}' run"
    if nameless:
        advice = "Tamer ends only what it launched: end them by hand"
        return warn("cloud", f"{said}, of which nobody ends {', '.join(nameless)}", advice)
    return ok("cloud", said)


def _reach(settings: Settings) -> Iterator[Finding]:
    """What a machine on EC2 would look for in vain."""
    if not settings.url and is_loopback(settings.host):
        said = f"machines on EC2 cannot join at {settings.api_url}"
        yield warn("reach", said, "set TAMER_URL to what they can reach, and TAMER_HOST")
    if not (settings.agent_jobs_url or settings.jobs_url or settings.embedded_port):
        said = "machines on EC2 cannot reach the queue, which is on a Unix socket"
        yield warn("reach", said, "set TAMER_AGENT_JOBS_URL, or TAMER_EMBEDDED_PORT and _HOST")
    if not settings.storage_url or settings.storage_url.startswith("file:"):
        said = "machines on EC2 cannot read models from a folder of this one"
        yield warn("reach", said, "set TAMER_STORAGE_URL=s3://BUCKET/PREFIX")

"""EC2 as a `Cloud`."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import Any

from infra.cloud.aws import fleet
from infra.cloud.aws.access import AwsAccess, aws_access
from infra.cloud.aws.boot import user_data
from infra.cloud.aws.classification import IDEMPOTENCY_MISMATCH, NOT_KNOWN
from infra.cloud.aws.described import described, one_each
from infra.cloud.aws.event_queue import EventQueue
from infra.cloud.aws.launch_template import LaunchTemplate, open_template
from infra.cloud.aws.offers import Offers
from infra.cloud.aws.placement_scores import PlacementScores
from infra.cloud.aws.spot_prices import SpotPrices
from infra.cloud.base import (
    CloudInstance,
    CloudInstanceState,
    CloudOffer,
    LaunchRequest,
    Market,
    Notice,
)
from infra.cloud.refusals import CloudAway, Malformed, Refusal
from infra.ending import end_tasks
from infra.settings import Settings, zone_pairs
from infra.telemetry import logger

_log = logger(__name__)

_TRIES = 3
"""Fleets of one instance: EC2 repeats the answer of a token, a failure too, so each has its own."""
_TRY_PAUSE_S = 2.0
"""After the first; doubled after the second."""
_TOKEN_LENGTH = 64
_TEMPLATE_AGE_S = 60.0
_LOOKS = 5
_LOOK_PAUSE_S = 2.0
"""For so long what was launched before in other words is looked for."""
_AT_ONCE = 100
"""Instances that one call ends; EC2 recommends small batches."""
_OF_ONE = (NOT_KNOWN, "OperationNotPermitted")
"""Because of one instance, unknown or protected, EC2 leaves others alone too."""
_TEMPLATE_GONE = "InvalidLaunchTemplateId."
_METADATA_URL = "http://169.254.169.254"


class AwsCloud:
    """An `infra.cloud.base.Cloud`, `Catalogue` and `NoticeSource`, of the event loop that uses
    it."""

    def __init__(self, settings: Settings, access: AwsAccess | None = None) -> None:
        """`access` is the process's own unless it is given."""
        self._settings = settings
        self._access = access or aws_access(
            settings.aws_region, settings.aws_endpoint_url, settings.aws_calls_per_s
        )
        self._owner = settings.aws_owner
        self._subnets = zone_pairs(settings.aws_subnets)
        self._template: tuple[float, LaunchTemplate] | None = None
        self._describing: asyncio.Task[Sequence[CloudInstance]] | None = None
        self._events = EventQueue(self._access, settings.aws_events_queue_url)
        self.spot_prices = SpotPrices(self._access)
        self.placement_scores = PlacementScores(self._access)
        self._offers = Offers(self._access, self._subnets, self.spot_prices, self.placement_scores)

    async def launch(self, request: LaunchRequest) -> CloudInstance:
        """See `Cloud`.

        Raises:
            Refusal: its type says why (`infra.cloud.refusals`), its `pools` say where.
        """
        return await self._access.do(lambda: self._launch(request))

    async def describe(self) -> Sequence[CloudInstance]:
        """See `Cloud`; whoever asks while it is asked gets the same answer. Raises Refusal."""
        if self._describing is None or self._describing.done():
            self._describing = asyncio.create_task(self._access.do(self._describe))
            self._describing.add_done_callback(_look_at)
        # A caller who gives up early must not cancel it for the others.
        return await asyncio.shield(self._describing)

    async def terminate(self, instance_id: str) -> None:
        """See `Cloud`; ends every machine with this id. Raises Refusal."""
        await self._access.do(lambda: self._end(instance_id))

    async def offers(self) -> Sequence[CloudOffer]:
        """See `Catalogue`; types and zones are asked again every hour, prices every minute. Raises
        Refusal."""
        return await self._offers.now()

    async def notices(self) -> Sequence[Notice]:
        """See `NoticeSource`. Raises Refusal."""
        return await self._access.do(self._events.receive)

    async def acknowledge(self, notices: Sequence[Notice]) -> None:
        """See `NoticeSource`. Raises Refusal."""
        await self._access.do(lambda: self._events.delete(notices))

    async def close(self) -> None:
        """The access stays: it is the process's."""
        if self._describing is not None:
            await end_tasks(self._describing)

    def _launch(self, request: LaunchRequest) -> CloudInstance:
        if not request.instance_id or len(request.instance_id) > _TOKEN_LENGTH:
            raise Malformed(f"{request.instance_id!r}: EC2 takes 1 to {_TOKEN_LENGTH} characters")
        known, _ = one_each(described(self._access, self._owner, request.instance_id))
        if known:
            return known[0]
        pools = fleet.pools_of(request)
        for attempt in range(_TRIES):
            token = _client_token(request.instance_id, attempt)
            last = attempt == _TRIES - 1
            try:
                answer = self._ask(request, token)
            except Refusal as refusal:
                if refusal.code != IDEMPOTENCY_MISMATCH or last:
                    raise
                # Its answer was lost, and the template or a setting has changed since.
                found = self._look_for(request.instance_id) if attempt == 0 else None
                if found is not None:
                    return found
                continue
            try:
                cloud_id, pool = fleet.launched(answer, pools, self._subnets)
            except Refusal as refusal:
                if not refusal.retryable or last:
                    refusal.retryable = False  # this id has used up its tokens
                    raise
                time.sleep(_TRY_PAUSE_S * 2**attempt)
            else:
                state = CloudInstanceState.PENDING
                return CloudInstance(request.instance_id, cloud_id, state, pool=pool)
        raise AssertionError("unreachable")

    def _ask(self, request: LaunchRequest, token: str) -> dict[str, Any]:
        """One fleet; a version of the template that has gone since it was read is read again."""
        for _ in range(2):
            asked = self._words(request, token)
            try:
                return self._access.call("ec2", "create_fleet", **asked)
            except Refusal as refusal:
                if not refusal.code.startswith(_TEMPLATE_GONE):
                    raise
                self._template = None
        raise CloudAway("EC2 does not know yet the launch template that it has just told us of")

    def _words(self, request: LaunchRequest, token: str) -> dict[str, Any]:
        """Of a CreateFleet."""
        template = self._open_template()
        if template.tags_spot_requests and request.market is Market.ON_DEMAND:
            raise Malformed(
                f"launch template {template.id} tags spot-instances-request, and EC2 launches "
                "nothing on demand from such a one: let it tag instance and volume"
            )
        environment = {"TAMER_IMDS_URL": _METADATA_URL, **request.user_data}
        boot = user_data(environment, template.user_data)
        return fleet.fleet_request(request, template, boot, self._subnets, self._owner, token)

    def _look_for(self, instance_id: str) -> CloudInstance | None:
        """What may have been launched a moment ago, and not be shown yet."""
        for _ in range(_LOOKS):
            time.sleep(_LOOK_PAUSE_S)
            known, _ = one_each(described(self._access, self._owner, instance_id))
            if known:
                return known[0]
        return None

    def _open_template(self) -> LaunchTemplate:
        now_s = time.monotonic()
        if self._template is None or now_s - self._template[0] > _TEMPLATE_AGE_S:
            self._template = now_s, open_template(self._access, self._settings)
        return self._template[1]

    def _describe(self) -> Sequence[CloudInstance]:
        instances, surplus = one_each(described(self._access, self._owner))
        try:
            self._terminate([each.cloud_id for each in surplus])
        except Refusal as refusal:  # what we saw is true even so; the next look tries again
            _log.error("a machine that came twice cannot be ended", error=str(refusal))
        return instances

    def _end(self, instance_id: str) -> None:
        found = described(self._access, self._owner, instance_id) if instance_id else []
        ended = CloudInstanceState.TERMINATED
        self._terminate([each.cloud_id for each in found if each.state is not ended])

    def _terminate(self, cloud_ids: Sequence[str]) -> None:
        """Those that may be ended, whatever is said of others. Raises Refusal: what is said."""
        said: Refusal | None = None
        for start in range(0, len(cloud_ids), _AT_ONCE):
            batch = cloud_ids[start : start + _AT_ONCE]
            try:
                self._access.call("ec2", "terminate_instances", InstanceIds=list(batch))
            except Refusal as refusal:
                if len(batch) == 1 or refusal.code not in _OF_ONE:
                    raise
                said = self._terminate_each(batch)
        if said is not None:
            raise said

    def _terminate_each(self, cloud_ids: Sequence[str]) -> Refusal | None:
        said: Refusal | None = None
        for each in cloud_ids:
            try:
                self._access.call("ec2", "terminate_instances", InstanceIds=[each])
            except Refusal as refusal:
                if refusal.code not in _OF_ONE:
                    raise
                said = refusal
        return said


def _client_token(instance_id: str, attempt: int) -> str:
    if attempt == 0:
        return instance_id
    return hashlib.sha256(f"{instance_id} {attempt}".encode()).hexdigest()


def _look_at(task: asyncio.Task[Sequence[CloudInstance]]) -> None:
    """Its error is its callers'; where all of them have given up, nobody else complains of it."""
    if not task.cancelled():
        task.exception()

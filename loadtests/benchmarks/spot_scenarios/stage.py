"""`tamer up` on the EC2 stand-in, with machines that are processes: where scenarios are played."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from loadtests.benchmarks.home import Home, free_port
from loadtests.ec2.faults import Faults
from loadtests.ec2.machines import Machines
from loadtests.ec2.market import Market
from loadtests.ec2.region import Region, open_region
from loadtests.ec2.user_data import template_user_data

OWNER = "spot-scenarios"
DEPLOYMENT = "chat"
_AGENT = {"TAMER_TORCH_THREADS": "1", "TAMER_STANDBY": "off", "TAMER_DRAIN_LIMIT_S": "10"}
_SETTINGS = {
    "TAMER_INSTANCE_LOST_S": "5",
    "TAMER_AWS_CALLS_PER_S": "50",
    "TAMER_AWS_DESCRIBE_S": "1",
    "TAMER_AWS_UNSEEN_S": "10",
    "TAMER_AWS_JOIN_LIMIT_S": "30",
}
_LOOK_EVERY_S = 0.1


class NotReached(RuntimeError):
    """The system is not in the state that it should have come to; the message says how it is."""


class Stage:
    """One Tamer and one region for all scenarios of a run."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.region: Region
        self.home: Home

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tamer-spot-")))
            self.region = stack.enter_context(open_region(Machines(folder)))
            template = self.region.make_template("gpu-workers", OWNER, template_user_data(_AGENT))
            environment = {
                **self.region.environment(OWNER, template),
                **_SETTINGS,
                "TAMER_EMBEDDED_PORT": str(free_port()),
            }
            self.home = stack.enter_context(Home(environment))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def deploy(self, tokens_per_s: float, jobs: int, **scaling: Any) -> None:
        """The paced engine, `jobs` sequences of `tokens_per_s` in one replica."""
        engine = {"kind": "paced", "options": {"tokens_per_s": tokens_per_s, "max_running": jobs}}
        self.home.apply(DEPLOYMENT, engine, {"min_replicas": 0, "idle_s": 5.0, **scaling})

    def clear(self) -> None:
        """Nothing is deployed, nothing runs, and nothing is wrong."""
        self.region.layer.faults, self.region.layer.market = Faults(), Market()
        self.home.delete(DEPLOYMENT)
        self.wait(lambda: not self.running(), "no machine left")
        self.wait(lambda: not self.home.get("/instances")["data"], "no row of a machine left")

    def running(self) -> dict[str, str]:
        """Zones of the machines that cost money, by cloud id."""
        return self.region.running(OWNER)

    def ready(self) -> int:
        replicas = self.home.get(f"/deployments/{DEPLOYMENT}/replicas")["data"]
        return sum(each["state"] == "ready" for each in replicas)

    def reason(self) -> str:
        return str(self.home.get(f"/deployments/{DEPLOYMENT}")["reason"])

    def story(self) -> list[str]:
        """What `tamer explain` tells, oldest first: "kind: reason (outcome)"."""
        found = self.home.get(f"/deployments/{DEPLOYMENT}/decisions?limit=100")["data"]
        return [f"{each['kind']}: {each['reason']}" for each in reversed(found)]

    def wait_for_ready(self, replicas: int, limit_s: float = 120.0) -> float:
        """Seconds until exactly so many are ready. Raises NotReached."""
        return self.wait(lambda: self.ready() == replicas, f"{replicas} ready", limit_s)

    def wait(self, holds: Callable[[], object], what: str, limit_s: float = 120.0) -> float:
        """Seconds until it holds. Raises NotReached."""
        began_s = time.monotonic()
        while not holds():
            if time.monotonic() - began_s > limit_s:
                raise NotReached(f"not within {limit_s:g} s: {what}; {self._how_it_is()}")
            time.sleep(_LOOK_EVERY_S)
        return time.monotonic() - began_s

    def _how_it_is(self) -> str:
        told = self.home.get("/status")
        return f"{told['deployments']}; machines: {self.running()}"

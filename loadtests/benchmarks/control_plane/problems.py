"""Placement problems: fifty deployments over a catalogue of real prices, drawn by a seed.

Sizes of models, the traffic and what must survive a loss are drawn; what a replica of such a model
serves on a device is what the performance model says of it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random

from control_plane.placement.offer import Market, Offer, Pool
from control_plane.placement.problem import Fit, Problem, Want
from infra.performance.capacity import RequestMix, Slo, SloUnreachable, capacity
from infra.performance.hardware import ACCELERATORS, accelerator
from infra.performance.memory import DoesNotFit, plan_memory
from infra.performance.model_facts import ModelFacts, facts_of
from infra.performance.step_time import roofline

_GIB = 1 << 30
_SLO = Slo(ttft_s=2.0, tpot_s=0.1)
_MIXES = (RequestMix(500, 200), RequestMix(1500, 300), RequestMix(200, 600))
_LARGEST_GROUP = 8
_LOSSES_PER_HOUR = (0.01, 0.02, 0.05, 0.1)
_QUOTA_VCPUS = 1536
"""Of each family in a region, on each market."""

_MODELS = {
    "1B": {"hidden_size": 2048, "num_hidden_layers": 16, "intermediate_size": 8192},
    "8B": {"hidden_size": 4096, "num_hidden_layers": 32, "intermediate_size": 14336},
    "32B": {"hidden_size": 5120, "num_hidden_layers": 64, "intermediate_size": 27648},
    "70B": {"hidden_size": 8192, "num_hidden_layers": 80, "intermediate_size": 28672},
}
_HEADS = {"1B": (32, 8), "8B": (32, 8), "32B": (40, 8), "70B": (64, 8)}
_VOCABULARY = 128_256


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One instance type in one zone."""

    instance_type: str
    accelerator: str
    devices: int
    vcpus: int
    memory_bytes: int
    region: str
    zone: str
    usd_per_hour: Mapping[Market, float]


def read_catalogue(path: Path) -> list[CatalogueRow]:
    """Rows of a CSV as SkyPilot's catalogue has them, of accelerators that are known; a market
    without a price is left out.

    Raises:
        OSError: it cannot be read.
        KeyError, ValueError: it is not such a file.
    """
    with path.open(encoding="utf-8", newline="") as file:
        return [_row(each) for each in csv.DictReader(file) if each["AcceleratorName"] in _KNOWN]


_KNOWN = frozenset(ACCELERATORS)


def _row(each: Mapping[str, str]) -> CatalogueRow:
    prices: dict[Market, float] = {}
    if each["Price"]:
        prices["on-demand"] = float(each["Price"])
    if each["SpotPrice"]:
        prices["spot"] = float(each["SpotPrice"])
    return CatalogueRow(
        instance_type=each["InstanceType"],
        accelerator=each["AcceleratorName"],
        devices=int(float(each["AcceleratorCount"])),
        vcpus=int(float(each["vCPUs"])),
        memory_bytes=int(float(each["MemoryGiB"]) * _GIB),
        region=each["Region"],
        zone=each["AvailabilityZone"],
        usd_per_hour=prices,
    )


def made_up_catalogue() -> list[CatalogueRow]:
    """A small one, for where no prices are given: six types in six zones."""
    kinds = (
        ("g6.xlarge", "L4", 1, 4, 0.8),
        ("g6.12xlarge", "L4", 4, 48, 4.6),
        ("g5.xlarge", "A10G", 1, 4, 1.0),
        ("g6e.xlarge", "L40S", 1, 4, 1.9),
        ("p4de.24xlarge", "A100-80GB", 8, 96, 27.4),
        ("p5.48xlarge", "H100", 8, 192, 55.0),
    )
    rng, rows = Random(0), []
    for (kind, device, devices, vcpus, usd), zone in product(kinds, range(6)):
        region = ("us-east-1", "us-west-2")[zone % 2]
        prices: dict[Market, float] = {"on-demand": usd, "spot": usd * rng.uniform(0.3, 0.7)}
        name = f"{region}{'abc'[zone // 2]}"
        rows.append(CatalogueRow(kind, device, devices, vcpus, _GIB << 4, region, name, prices))
    return rows


def problem(rows: Iterable[CatalogueRow], deployments: int, seed: int) -> Problem:
    """The same seed, the same problem."""
    rng = Random(seed)
    offers = {offer.pool: offer for offer in _offers(rows, rng)}
    quotas = {offer.quota: _QUOTA_VCPUS for offer in offers.values()}
    wants = [_want(f"d{number:02}", offers, rng) for number in range(deployments)]
    return Problem(offers, wants, quotas)


def _offers(rows: Iterable[CatalogueRow], rng: Random) -> Iterable[Offer]:
    for row in rows:
        for market, usd in row.usd_per_hour.items():
            spot = market == "spot"
            yield Offer(
                pool=Pool(row.instance_type, row.zone, market),
                region=row.region,
                accelerator=row.accelerator,
                devices=row.devices,
                memory_bytes=row.memory_bytes,
                vcpus=row.vcpus,
                usd_per_hour=usd,
                launch_share=rng.uniform(0.6, 1.0) if spot else 1.0,
                losses_per_hour=rng.choice(_LOSSES_PER_HOUR) if spot else 0.0,
            )


def _want(name: str, offers: Mapping[Pool, Offer], rng: Random) -> Want:
    kind, mix = rng.choice(list(_MODELS)), rng.choice(_MIXES)
    requests_per_s = rng.uniform(0.5, 30.0)
    fits = {}
    for pool, offer in offers.items():
        found = _CAPACITIES.of(kind, offer.accelerator, offer.devices, mix)
        if found is not None:
            devices, served = found
            fits[pool] = Fit(pool, devices, served)
    running = {pool: rng.randint(1, 2) for pool in rng.sample(sorted(fits), 2)}
    return Want(
        name,
        requests_per_s,
        fits,
        kept_share=rng.choice((0.0, 0.5, 0.8)),
        running=running,
        start_usd=rng.uniform(0.01, 0.1),
    )


class _Capacities:
    """Of a model on so many devices at most: the fewest of them that hold it, and what one replica
    serves there in requests a second. Remembered: many offers have the same devices."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, int, RequestMix], tuple[int, float] | None] = {}

    def of(self, kind: str, device: str, devices: int, mix: RequestMix) -> tuple[int, float] | None:
        """None where it fits nowhere, or is too slow."""
        key = (kind, device, devices, mix)
        if key not in self._known:
            self._known[key] = self._look(_facts(kind), device, devices, mix)
        return self._known[key]

    def _look(
        self, facts: ModelFacts, device: str, devices: int, mix: RequestMix
    ) -> tuple[int, float] | None:
        group = 1
        while group <= min(devices, _LARGEST_GROUP):
            try:
                memory = plan_memory(facts, accelerator(device), tensor_parallel=group)
                time = roofline(facts, accelerator(device), tensor_parallel=group)
                found = capacity(time, mix, _SLO, memory.kv_tokens)
            except (DoesNotFit, SloUnreachable):
                group *= 2
                continue
            return group, found.requests_per_s
        return None


def _facts(kind: str) -> ModelFacts:
    query_heads, kv_heads = _HEADS[kind]
    return facts_of(
        {
            **_MODELS[kind],
            "num_attention_heads": query_heads,
            "num_key_value_heads": kv_heads,
            "vocab_size": _VOCABULARY,
        }
    )


_CAPACITIES = _Capacities()

"""Blocks come back from host memory as they went."""

from __future__ import annotations

import pytest
import torch

from worker.engine.host_pool import HostPool


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn])
def test_blocks_come_back_to_other_places_with_the_same_bytes(dtype: torch.dtype) -> None:
    values = torch.randn(2, 3, 2, 6, 4, 8, generator=torch.Generator().manual_seed(1))
    cache, scales = values.to(dtype), values.amax(-1)
    before, before_scales = cache.clone(), scales.clone()
    pool = HostPool([cache, scales], slots=3)
    pool.move([(1, 2), (4, 0)], [])
    cache.view(torch.uint8)[:, :, :, [1, 4]] = 0
    scales[:, :, :, [1, 4]] = 0
    pool.move([], [(2, 5), (0, 1)])
    for now, then in ((cache, before), (scales, before_scales)):
        now, then = now.view(torch.uint8), then.view(torch.uint8)
        assert torch.equal(now[:, :, :, [5, 1]], then[:, :, :, [1, 4]])
        assert torch.equal(now[:, :, :, [0, 2, 3]], then[:, :, :, [0, 2, 3]])


def test_what_goes_out_and_what_comes_in_may_change_places() -> None:
    cache = torch.arange(4.0).view(1, 1, 1, 4, 1, 1).repeat(2, 1, 1, 1, 1, 1)
    pool = HostPool([cache], slots=2)
    pool.move([(1, 0)], [])
    pool.move([(2, 1)], [(0, 2), (1, 1)])
    assert cache[0].flatten().tolist() == [0, 2, 1, 3]


def test_measuring_leaves_the_cache_as_it_was() -> None:
    cache = torch.zeros(2, 1, 1, 3, 4, 8)
    assert HostPool([cache], slots=1).block_copy_s > 0
    assert not cache.any()

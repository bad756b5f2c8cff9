"""Rotary positions and the write into the KV cache: one program a row and KV head.

A program rotates its key and the query heads that share it, and stores key and value.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from worker.kernels.coding import coded, scale_for
from worker.kernels.compilation import DTYPE, Program
from worker.kernels.kv_coding import KvScales, as_codes


def rotate_and_store(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rotation: tuple[Tensor, Tensor],
    slots: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    scales: KvScales | None = None,
) -> Tensor:
    """See the reference. Heads of a row may lie in a wider row, as a fused product leaves them."""
    rows, heads, width = query.shape
    kv_heads = key.shape[1]
    output = torch.empty(rows, heads, width, dtype=query.dtype, device=query.device)
    if rows:
        cosines, sines = (table.contiguous() for table in rotation)
        query, key, value = (_packed_heads(part) for part in (query, key, value))
        group = heads // kv_heads
        key_cache, value_cache, code = as_codes(key_cache, value_cache, scales)
        key_scales, value_scales = scales or (output, output)
        _rotate_and_store[(rows, kv_heads)](
            query,
            key,
            value,
            cosines,
            sines,
            slots,
            key_cache,
            value_cache,
            key_scales,
            value_scales,
            output,
            query.stride(0),
            key.stride(0),
            value.stride(0),
            key_cache.stride(0),
            value_cache.stride(0),
            key_scales.stride(0),
            group=group,
            heads_block=triton.next_power_of_2(group),
            half=width // 2,
            half_block=triton.next_power_of_2(width // 2),
            code=code,
            num_warps=2,
        )
    return output


def _packed_heads(part: Tensor) -> Tensor:
    """Within a row, heads must follow each other; rows may be any distance apart."""
    width = part.shape[2]
    return part if part.stride()[1:] == (width, 1) else part.contiguous()


@triton.jit
def _rotate_and_store(
    query,
    key,
    value,
    cosines,
    sines,
    slots,
    key_cache,
    value_cache,
    key_scales,
    value_scales,
    output,
    query_stride,
    key_stride,
    value_stride,
    key_cache_stride,
    value_cache_stride,
    scale_stride,
    group: tl.constexpr,
    heads_block: tl.constexpr,
    half: tl.constexpr,
    half_block: tl.constexpr,
    code: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    kv_head = tl.program_id(1).to(tl.int64)
    width: tl.constexpr = 2 * half
    columns = tl.arange(0, half_block)
    inside = columns < half
    cosine = tl.load(cosines + row * half + columns, mask=inside, other=0.0)
    sine = tl.load(sines + row * half + columns, mask=inside, other=0.0)

    place = tl.load(slots + row).to(tl.int64)
    slot = place * width
    scale_place = kv_head * scale_stride + place
    source = key + row * key_stride + kv_head * width + columns
    first = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + half, mask=inside, other=0.0).to(tl.float32)
    # Rounded as the query is, also where the cache keeps more bits.
    low = (first * cosine - second * sine).to(key.dtype.element_ty)
    high = (second * cosine + first * sine).to(key.dtype.element_ty)
    target = key_cache + kv_head * key_cache_stride + slot + columns
    _store_head(target, key_scales + scale_place, low, high, half, inside, code)

    source = value + row * value_stride + kv_head * width + columns
    target = value_cache + kv_head * value_cache_stride + slot + columns
    low = tl.load(source, mask=inside, other=0.0)
    high = tl.load(source + half, mask=inside, other=0.0)
    _store_head(target, value_scales + scale_place, low, high, half, inside, code)

    members = tl.arange(0, heads_block)
    offsets = (kv_head * group + members)[:, None] * width + columns[None, :]
    held = (members < group)[:, None] & inside[None, :]
    source = query + row * query_stride + offsets
    first = tl.load(source, mask=held, other=0.0).to(tl.float32)
    second = tl.load(source + half, mask=held, other=0.0).to(tl.float32)
    low = first * cosine[None, :] - second * sine[None, :]
    high = second * cosine[None, :] + first * sine[None, :]
    target = output + row * tl.num_programs(1) * group * width + offsets
    tl.store(target, low.to(output.dtype.element_ty), mask=held)
    tl.store(target + half, high.to(output.dtype.element_ty), mask=held)


@triton.jit
def _store_head(target, scale_target, low, high, half: tl.constexpr, inside, code: tl.constexpr):
    """Both halves of a head, by a common scale where the cache is coded."""
    if code == "":
        tl.store(target, low.to(target.dtype.element_ty), mask=inside)
        tl.store(target + half, high.to(target.dtype.element_ty), mask=inside)
    else:
        low = tl.where(inside, low.to(tl.float32), 0.0)
        high = tl.where(inside, high.to(tl.float32), 0.0)
        low_scale, high_scale = scale_for(low, code), scale_for(high, code)
        # The larger one; and one that is no number, which no comparison prefers.
        prefer_low = (low_scale > high_scale) | (low_scale != low_scale)
        scale = tl.where(prefer_low, low_scale, high_scale)
        tl.store(scale_target, scale)
        tl.store(target, coded(low, scale, code), mask=inside)
        tl.store(target + half, coded(high, scale, code), mask=inside)


def programs() -> list[Program]:
    """A group of three heads and a head width that are no powers of two; Llama 3's, coded."""
    pointers = ("query", "key", "value", "output")
    strides = ("query", "key", "value", "key_cache", "value_cache", "scale")
    return [
        Program(
            _rotate_and_store,
            {
                **dict.fromkeys(pointers, f"*{DTYPE}"),
                **dict.fromkeys(("key_cache", "value_cache"), f"*{held}"),
                **dict.fromkeys(("cosines", "sines", "key_scales", "value_scales"), "*fp32"),
                "slots": "*i64",
                **{f"{name}_stride": "i64" for name in strides},
            },
            {
                "group": group,
                "heads_block": triton.next_power_of_2(group),
                "half": half,
                "half_block": triton.next_power_of_2(half),
                "code": code,
            },
            warps=2,
        )
        for group, half, code, held in (
            (3, 40, "", DTYPE),
            (4, 64, "int8", "i8"),
            (4, 64, "e4m3", "u8"),
        )
    ]

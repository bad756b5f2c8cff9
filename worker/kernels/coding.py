"""Numbers of 8 bits inside Triton kernels: int8, and e4m3 for targets with and without the type.

Shifts and fp32 arithmetic alone: an A100 has no e4m3, an MI300 another one, and the interpreter is
wrong about what it cannot do in fp32.
"""

from __future__ import annotations

import triton
import triton.language as tl

INT8_MOST = tl.constexpr(127.0)
E4M3_MOST = tl.constexpr(448.0)
E4M3_SHRINK = tl.constexpr(256.0)
"""Between fp16's exponent bias and e4m3's, 8 places."""


@triton.jit
def nearest(value):
    """The nearest whole number of an fp32 below 2 ** 22, halves to even."""
    # Adding 1.5 * 2 ** 23 leaves no bits for a fraction, and rounds as every addition does.
    return (value + 12582912.0) - 12582912.0


@triton.jit
def e4m3_shrunk(code):
    """fp16 of an e4m3's bits (uint8), divided by 256: its places in fp16's, exact below 1 as well.
    A NaN's bits become 480 / 256."""
    bits = code.to(tl.uint16)
    return (((bits & 0x80) << 8) | ((bits & 0x7F) << 7)).to(tl.float16, bitcast=True)


@triton.jit
def e4m3_code(value):
    """The bits (uint8) of the nearest e4m3 of an fp32, halves to even, at most +-448."""
    bits = value.to(tl.uint32, bitcast=True)
    sign = (bits >> 24) & 0x80
    size = bits & 0x7FFFFFFF
    # Three of 23 places stay: half of the last one is added, less a little where it is even.
    rounded = ((size + 0x7FFFF + ((size >> 20) & 1)) >> 20).to(tl.int32) - (120 << 3)
    # Below 2 ** -6 codes are multiples of 2 ** -9.
    small = nearest(tl.abs(value) * 512.0).to(tl.int32)
    code = tl.where(size < 0x3C800000, small, tl.minimum(rounded, 0x7E))
    return (code | sign.to(tl.int32)).to(tl.uint8)


@triton.jit
def scale_of(values, most: tl.constexpr):
    """The scale that brings a vector's fp32 values to +-most; NaN where one of them is not finite,
    so that it stays visible."""
    sizes = tl.abs(values)
    scale = tl.div_rn(tl.max(sizes, axis=0), most)
    broken = tl.max((~(sizes < float("inf"))).to(tl.int32), axis=0)
    return tl.where(broken != 0, float("nan"), scale)


@triton.jit
def shrunk(values, scale, most: tl.constexpr):
    """Values over their scale, within +-most; zeros where that is 0 or not a number."""
    usable = scale > 0
    # Times the inverse, as the references do: the same bits.
    inverse = tl.where(usable, tl.div_rn(1.0, tl.where(usable, scale, 1.0)), 0.0)
    small = values * inverse
    return tl.minimum(tl.maximum(tl.where(small == small, small, 0.0), -most), most)


@triton.jit
def widened(codes, code: tl.constexpr):
    """What a cache holds, in `unit_of(code)` of its scale.

    Args:
        code: int8, e4m3, or empty for what is not coded.
    """
    if code == "e4m3":
        codes = e4m3_shrunk(codes)
    return codes


@triton.jit
def unit_of(code: tl.constexpr):
    """What 1.0 of `widened` is worth."""
    unit: tl.constexpr = E4M3_SHRINK if code == "e4m3" else 1.0
    return unit


@triton.jit
def scale_for(values, code: tl.constexpr):
    """The scale of fp32 values that are to be coded."""
    most: tl.constexpr = E4M3_MOST if code == "e4m3" else INT8_MOST
    return scale_of(values, most)


@triton.jit
def coded(values, scale, code: tl.constexpr):
    """The codes of fp32 values by their scale."""
    if code == "e4m3":
        codes = e4m3_code(shrunk(values, scale, E4M3_MOST))
    else:
        codes = nearest(shrunk(values, scale, INT8_MOST)).to(tl.int8)
    return codes

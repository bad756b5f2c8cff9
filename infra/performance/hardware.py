"""What accelerators can do, from their vendors' data sheets: dense rates, no sparsity."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One device."""

    name: str
    memory_bytes: int
    bandwidth_bytes_per_s: float
    """Of its own memory."""
    bf16_flop_per_s: float
    """fp16 where it has no bf16."""
    int8_op_per_s: float
    """0 where it multiplies int8 no faster."""
    link_bytes_per_s: float
    """To each neighbour in the same machine, one way: NVLink, or else PCIe."""
    host_bytes_per_s: float
    """From the host's memory."""


class UnknownAccelerator(LookupError):
    """Nothing is known of this device; the message names those of which something is."""


_GIB = 1 << 30
_GB = 1e9
_TERA = 1e12


def _device(
    name: str,
    memory_gib: int,
    bandwidth_gb_per_s: float,
    bf16_tflops: float,
    int8_tops: float,
    link_gb_per_s: float,
    host_gb_per_s: float,
) -> Accelerator:
    return Accelerator(
        name,
        memory_gib * _GIB,
        bandwidth_gb_per_s * _GB,
        bf16_tflops * _TERA,
        int8_tops * _TERA,
        link_gb_per_s * _GB,
        host_gb_per_s * _GB,
    )


_DEVICES = (
    _device("T4", 16, 320, 65, 130, 12, 12),
    _device("V100", 16, 900, 125, 0, 150, 12),
    _device("V100-32GB", 32, 900, 125, 0, 150, 12),
    _device("T4g", 16, 320, 65, 130, 12, 12),
    _device("A10G", 24, 600, 70, 140, 25, 25),
    _device("L4", 24, 300, 121, 242, 25, 25),
    _device("L40S", 48, 864, 362, 733, 25, 25),
    _device("A100", 40, 1555, 312, 624, 300, 25),
    _device("A100-80GB", 80, 2039, 312, 624, 300, 25),
    _device("H100", 80, 3350, 989, 1979, 450, 55),
    _device("H200", 141, 4800, 989, 1979, 450, 55),
    _device("B200", 180, 7700, 2250, 4500, 900, 55),
    _device("MI300X", 192, 5300, 1307, 2615, 448, 55),
)
ACCELERATORS = {device.name: device for device in _DEVICES}

HOST = _device("host", 16, 20, 0.4, 0.8, 10, 20)
"""A server's processors, of the order of magnitude alone: a start for what is measured there."""


def accelerator(name: str) -> Accelerator:
    """The device of that name.

    Raises:
        UnknownAccelerator: see there.
    """
    try:
        return ACCELERATORS[name]
    except KeyError:
        known = ", ".join(sorted(ACCELERATORS))
        raise UnknownAccelerator(f"nothing is known of {name!r}; known are {known}") from None

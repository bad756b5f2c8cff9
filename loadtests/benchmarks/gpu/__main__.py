"""`python -m loadtests.benchmarks.gpu [--quick] [--json FILE] [--page FILE]`: a GPU's figures.

1. The ceilings of this GPU: bandwidth of a copy, rate of a matrix product.
2. Paged attention against the bandwidth and against torch's own kernel.
3. Weights from host memory to the device against a copy from pinned memory.
4. The engine with a random model of Llama 3 8B's shape: decodes of 1, 32 and 256 sequences with
   contexts of 1k tokens as a share of the bandwidth bound, prefill as a share of the matrix peak.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from loadtests.benchmarks.gpu import attention, ceilings, loading
from loadtests.benchmarks.gpu.page import page
from loadtests.benchmarks.gpu.random_llama import RandomLlama
from loadtests.benchmarks.gpu.size import FULL, Size
from loadtests.benchmarks.gpu.steps import StepsFailed, decode_row, prefill_row
from loadtests.benchmarks.report import Report
from worker.engine.base import EngineError
from worker.engine.device import choose_device

QUICK = replace(FULL, rounds=2, decode_steps=16, attention=FULL.attention[:3])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer rounds and cases")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--page", type=Path, default=None, metavar="FILE", help="as Markdown")
    options = parser.parse_args(arguments)
    report = Report("gpu", options.quick)
    try:
        device = choose_device("cuda")
    except EngineError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    try:
        measure(report, QUICK if options.quick else FULL, device)
    except (EngineError, StepsFailed) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    print(report.table())
    _write(options.json, report.json())
    _write(options.page, page(report, gpu_name(device)).encode())
    return 0


def measure(report: Report, size: Size, device: torch.device) -> None:
    """Fill a report. On a CPU every part runs, and the figures mean nothing."""
    _note("the ceilings of this device")
    copy_rate = ceilings.copy_bytes_per_s(size, device)
    peak = ceilings.product_flops(size, device, getattr(torch, size.dtype))
    report.notes += [
        f"{gpu_name(device)}, torch {torch.__version__}",
        f"a copy of {size.copy_bytes >> 20} MiB: {copy_rate / 1e9:,.0f} GB/s, read and written",
        f"a square product of {size.product_width}: {peak / 1e12:,.1f} TFLOP/s in {size.dtype}",
    ]
    shape = size.config
    heads = attention.Heads(
        shape["num_attention_heads"],
        shape["num_key_value_heads"],
        shape["hidden_size"] // shape["num_attention_heads"],
    )
    for case in size.attention:
        _note(case.name)
        report.rows += attention.rows_of(case, size, heads, copy_rate, device)
    _note("weights to the device")
    report.rows += loading.rows_of(size, device)
    _note(f"an engine with a random {size.model_name}")
    llama = RandomLlama.build(size, device)
    for batch in size.batches:
        _note(f"decodes of {batch} sequences")
        report.rows.append(decode_row(llama, size, batch, copy_rate))
    _note("prefill")
    report.rows.append(prefill_row(llama, size, peak))


def gpu_name(device: torch.device) -> str:
    if device.type != "cuda":
        return "no GPU"
    about = torch.cuda.get_device_properties(device)
    return f"{about.name}, {about.total_memory >> 30} GiB, {about.multi_processor_count} SMs"


def _note(text: str) -> None:
    print(f"{text} ...", file=sys.stderr, flush=True)


def _write(file: Path | None, content: bytes) -> None:
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


if __name__ == "__main__":
    raise SystemExit(main())

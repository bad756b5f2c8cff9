"""The prior against times that others have measured (Llama-3.1-8B, bf16; operators summed by
ai-dynamo/aiconfigurator, Apache-2.0)."""

from __future__ import annotations

import pytest

from infra.performance.hardware import UnknownAccelerator, accelerator
from infra.performance.model_facts import ModelFacts
from infra.performance.step_time import roofline

_DECODES = [
    ("A100-80GB", 1, 256, 10.9713),
    ("H100", 1, 256, 5.9644),
    ("H100", 64, 4096, 17.6368),
    ("L40S", 1, 1024, 21.9394),
]


@pytest.mark.parametrize(("device", "batch", "context", "measured_ms"), _DECODES)
def test_the_prior_is_near_what_was_measured(
    llama_8b: ModelFacts, device: str, batch: int, context: int, measured_ms: float
) -> None:
    time = roofline(llama_8b, accelerator(device))
    assert time.decode(batch, batch * context) * 1000 == pytest.approx(measured_ms, rel=0.25)


def test_nothing_takes_no_time(llama_8b: ModelFacts) -> None:
    time = roofline(llama_8b, accelerator("L4"))
    assert time.decode(0, 0) == time.prefill(0, 500) == 0.0


def test_a_prompt_in_two_chunks_does_the_same_attention(llama_8b: ModelFacts) -> None:
    time = roofline(llama_8b, accelerator("H100"))
    whole = time.prefill(4096)
    chunks = time.prefill(1024) + time.prefill(3072, 1024)
    assert chunks - whole == pytest.approx(time.prefill_s)


def test_a_chunk_beside_decodes_reads_the_weights_once(llama_8b: ModelFacts) -> None:
    time = roofline(llama_8b, accelerator("H100"))
    apart = time.decode(32, 32_000) + time.prefill(512)
    assert time.mixed(32, 32_000, 512) < apart
    assert time.mixed(32, 32_000, 0) == time.decode(32, 32_000)


def test_two_devices_are_faster_than_one_but_not_twice(llama_8b: ModelFacts) -> None:
    one = roofline(llama_8b, accelerator("L4"))
    two = roofline(llama_8b, accelerator("L4"), tensor_parallel=2)
    assert one.decode(8, 8000) / 2 < two.decode(8, 8000) < one.decode(8, 8000)


def test_smaller_weights_are_read_faster(llama_8b: ModelFacts) -> None:
    whole = roofline(llama_8b, accelerator("A100-80GB"))
    small = roofline(llama_8b, accelerator("A100-80GB"), "int8")
    assert small.decode(1, 100) < 0.6 * whole.decode(1, 100)


def test_an_unknown_device_is_named_with_those_that_are_known() -> None:
    with pytest.raises(UnknownAccelerator, match=r"'A1000'.*H100"):
        accelerator("A1000")

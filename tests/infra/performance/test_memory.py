from __future__ import annotations

import pytest

from infra.performance.hardware import accelerator
from infra.performance.memory import DoesNotFit, plan_memory
from infra.performance.model_facts import ModelFacts


def test_what_weights_leave_is_kv_cache(llama_8b: ModelFacts) -> None:
    plan = plan_memory(llama_8b, accelerator("L4"), max_context_tokens=4096)
    assert plan.kv_tokens == int(plan.kv_cache / llama_8b.kv_token_bytes())
    whole = plan.weights + plan.activations + plan.kv_cache
    assert whole <= accelerator("L4").memory_bytes


def test_a_model_that_is_too_large_is_refused_with_the_numbers(mixtral: ModelFacts) -> None:
    with pytest.raises(DoesNotFit, match=r"87\.0 GiB of weights.*1 x A100-80GB.*quantise"):
        plan_memory(mixtral, accelerator("A100-80GB"))


def test_quantised_or_on_two_devices_it_fits(mixtral: ModelFacts) -> None:
    device = accelerator("A100-80GB")
    assert plan_memory(mixtral, device, "int8").kv_tokens > 4096
    assert plan_memory(mixtral, device, tensor_parallel=2).kv_tokens > 4096


def test_a_context_that_leaves_no_room_for_one_sequence_is_refused(llama_8b: ModelFacts) -> None:
    with pytest.raises(DoesNotFit, match="one context of 131072 tokens"):
        plan_memory(llama_8b, accelerator("L4"), max_context_tokens=131072)

"""Our own engine as an arm: a real process, asked over its pipe."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.benchmarks.arms.arm import Arm, ArmFailed, ArmSpec
from loadtests.benchmarks.arms.line_up import LineUp
from loadtests.benchmarks.engine.wave import tokens_per_s
from loadtests.benchmarks.engine.workload import prompts
from tests.fixtures.tiny_llama import TinyLlama
from tests.fixtures.waiting import block_until


def _spec(model: Path, **options: object) -> ArmSpec:
    settings = {"model": str(model), "threads": 1, "options": options}
    return ArmSpec("loadtests.benchmarks.engine.arms.tamer", settings)


@pytest.fixture(scope="module")
def model(tiny_llama: TinyLlama) -> Path:
    return tiny_llama(vocab_size=40_000, max_position_embeddings=4096)


@pytest.fixture(scope="module")
def arm(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arm]:
    with Arm(_spec(model, dtype="float32"), tmp_path_factory.mktemp("arm") / "arm.log") as loaded:
        yield loaded


def test_an_arm_says_what_it_is_and_has_a_rate(arm: Arm) -> None:
    assert arm.facts["format"] == "fp32"
    assert arm.facts["instructions"]
    assert tokens_per_s(arm, prompts(3, "rate"), 5) > 0


def test_an_arm_that_is_not_asked_is_stopped(arm: Arm) -> None:
    tokens_per_s(arm, prompts(1, "stopped"), 2)
    block_until(lambda: _state(arm.pid) == "T", "the arm is stopped")


def test_the_first_token_of_each_prompt_is_timed(arm: Arm) -> None:
    told = arm.ask("first_tokens", prompts=prompts(3, "first"))
    assert len(told["seconds"]) == 3
    assert min(told["seconds"]) > 0


def test_gaps_are_those_of_the_streams_that_ran_while_the_long_prompt_arrived(arm: Arm) -> None:
    [long] = prompts(1, "long", 1100)  # three chunks of the default budget
    gaps = arm.ask("gaps", prompts=prompts(2, "gaps"), long_prompt=long)["seconds"]
    assert len(gaps) >= 2 * 3
    assert tokens_per_s(arm, prompts(1, "after"), 2) > 0


def test_what_an_engine_refuses_is_the_arms_reason_and_it_goes_on(arm: Arm) -> None:
    with pytest.raises(ArmFailed, match="the prompt has 5000 tokens"):
        arm.ask("first_tokens", prompts=[[300] * 5000])
    assert tokens_per_s(arm, prompts(1, "after"), 2) > 0


def test_arms_that_cannot_be_loaded_or_die_keep_their_reasons(model: Path, tmp_path: Path) -> None:
    with LineUp(tmp_path) as line_up:
        line_up.load("odd", _spec(model, colour="blue"))
        line_up.load("killed", _spec(model, dtype="float32"))
        assert line_up.names == ["killed"]
        line_up.use("killed", lambda arm: os.kill(arm.pid, signal.SIGKILL))
        assert line_up.use("killed", lambda arm: tokens_per_s(arm, [[300]], 1)) is None
        assert line_up.names == []
    assert "no option 'colour'" in line_up.reasons["odd"]
    assert "its process ended" in line_up.reasons["killed"]


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

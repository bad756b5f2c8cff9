"""The torch engine from the outside: jobs in, events out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from infra.wire import FinishReason, JobSpec, Sampling, TokenEvent
from tests.fixtures.tiny_llama import TinyLlama
from tests.fixtures.waiting import wait_until
from worker.engine.base import Engine, EngineError, EngineSpec
from worker.engine.loading import listening
from worker.engine.torch_engine import build
from worker.models.base import ModelError

PROMPT = [5, 17, 33, 2, 60]
SMALL = {"kv_cache_tokens": 1024, "max_context_tokens": 64, "max_running": 4}


@pytest.fixture(scope="module")
def directory(tiny_llama: TinyLlama) -> Path:
    return tiny_llama()


@pytest.fixture
def engine(directory: Path) -> Engine:
    return build(EngineSpec("replica", directory, {**SMALL, "exact": True}))


@pytest.fixture
def altered(directory: Path, tmp_path: Path) -> Path:
    """A copy of the model to break."""
    return Path(shutil.copytree(directory, tmp_path / "model"))


def job(job_id: str = "a", prompt: list[int] | None = None, **changes: Any) -> JobSpec:
    delivered = changes.pop("delivered", [])
    choice = changes.pop("choice", 0)
    settings = {"max_tokens": 8, "temperature": 0.0, "ignore_eos": True, **changes}
    tokens = PROMPT if prompt is None else prompt
    return JobSpec(job_id, "request", tokens, Sampling(**settings), choice, delivered)


def finish_all(engine: Engine) -> list[TokenEvent]:
    events = []
    while engine.stats().running + engine.stats().waiting:
        events += engine.step()
    return events


def test_a_step_tells_how_long_it_took_and_what_it_held(engine: Engine) -> None:
    assert engine.stats().sampled_steps == 0, "the warm-up is no measure"
    engine.submit(job(), 1)
    engine.step()
    step = engine.stats().sampled_step
    assert step is not None
    assert step.seconds > 0
    assert (step.sequences, step.chunk_tokens, step.before_tokens) == (0, 5, 0)


def run(engine: Engine, spec: JobSpec) -> tuple[list[int], TokenEvent]:
    """Output tokens of one job, and its last event."""
    assert engine.submit(spec, 1) is None
    events = finish_all(engine)
    output = list(spec.delivered)
    for event in events:
        assert event.index == len(output)
        output += event.tokens
    return output, events[-1]


def test_output_is_numbered_from_zero_and_ends_at_max_tokens(engine: Engine) -> None:
    output, last = run(engine, job())
    assert len(output) == 8
    assert last.finish is FinishReason.LENGTH
    assert engine.stats().output_tokens == 8
    assert engine.stats().kv_tokens_used == 0


def test_a_resumed_job_goes_on_at_the_next_index_with_the_same_tokens(engine: Engine) -> None:
    whole, _ = run(engine, job())
    resumed, last = run(engine, job(delivered=whole[:5]))
    assert resumed == whole
    assert last.index == 7


def test_a_resumed_sample_draws_the_same_noise(engine: Engine) -> None:
    settings = {"temperature": 1.5, "top_p": 0.9, "top_k": 40, "seed": 11}
    whole, _ = run(engine, job(**settings))
    resumed, _ = run(engine, job(delivered=whole[:3], **settings))
    assert resumed == whole


def test_seed_and_choice_change_a_sample(engine: Engine) -> None:
    outputs = [
        run(engine, job(temperature=1.5, seed=seed, choice=choice))[0]
        for seed, choice in [(1, 0), (2, 0), (1, 1), (1, 0)]
    ]
    assert outputs[0] == outputs[3]
    assert outputs[0] != outputs[1]
    assert outputs[0] != outputs[2]


def test_everything_delivered_already_ends_at_once(engine: Engine) -> None:
    event = engine.submit(job(delivered=[1] * 8), 2)
    assert event == TokenEvent("a", 2, 8, [], FinishReason.LENGTH)


def test_a_stop_token_ends_a_job_and_is_no_output(engine: Engine) -> None:
    whole, _ = run(engine, job())
    stop = whole[4]
    output, last = run(engine, job(stop_token_ids=(stop,)))
    assert output == whole[: whole.index(stop)]
    assert last.finish is FinishReason.STOP
    assert last.tokens == []


def test_end_of_sequence_tokens_come_from_the_generation_config_first(altered: Path) -> None:
    spec = EngineSpec("replica", altered, SMALL)
    whole, _ = run(build(spec), job(ignore_eos=False))
    generation = altered / "generation_config.json"
    generation.write_text(json.dumps({"eos_token_id": [whole[2], 3]}))
    output, last = run(build(spec), job(ignore_eos=False))
    assert output == whole[: whole.index(whole[2])]
    assert last.finish is FinishReason.STOP
    assert run(build(spec), job(ignore_eos=True))[0] == whole


def test_the_context_limit_finishes_with_length(engine: Engine) -> None:
    output, last = run(engine, job(prompt=[3] * 60, max_tokens=1000))
    assert len(output) == 4
    assert last.finish is FinishReason.LENGTH


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (job(prompt=[]), "empty"),
        (job(prompt=[3] * 64), "at most 63"),
        (job(prompt=[3, 97]), "token id 97 is outside"),
        (job(prompt=[-1]), "token id -1"),
        (job(delivered=[97]), "token id 97"),
        (job(max_tokens=0), "max_tokens"),
        (job(temperature=float("nan")), "temperature"),
        (job(temperature=-1.0), "temperature"),
        (job(top_p=0.0), "top_p"),
        (job(top_p=float("nan")), "top_p"),
        (job(top_k=-1), "top_k"),
    ],
)
def test_a_job_that_can_never_run_is_told_why_and_the_engine_goes_on(
    engine: Engine, spec: JobSpec, message: str
) -> None:
    event = engine.submit(spec, 4)
    assert event is not None
    assert (event.attempt, event.finish, event.tokens) == (4, FinishReason.ERROR, [])
    assert message in event.error
    assert len(run(engine, job("next"))[0]) == 8


def test_a_cancelled_job_says_nothing_more_and_leaves_no_block(engine: Engine) -> None:
    engine.submit(job("a", max_tokens=50), 1)
    engine.submit(job("b"), 1)
    engine.step()
    engine.cancel("a")
    engine.cancel("unknown")
    assert {event.job_id for event in finish_all(engine)} == {"b"}
    assert engine.stats().kv_tokens_used == 0


def test_a_job_submitted_again_runs_as_its_newest_attempt_only(engine: Engine) -> None:
    engine.submit(job(), 1)
    engine.step()
    engine.submit(job(), 2)
    events = finish_all(engine)
    assert {event.attempt for event in events} == {2}
    assert sum(len(event.tokens) for event in events) == 8


def test_more_jobs_than_places_all_finish_as_they_would_alone(engine: Engine) -> None:
    prompts = {f"job-{i}": [i + 1] * (3 + 5 * i) for i in range(9)}
    alone = {name: run(engine, job(name, prompt))[0] for name, prompt in prompts.items()}
    for name, prompt in prompts.items():
        assert engine.submit(job(name, prompt), 1) is None
    outputs: dict[str, list[int]] = {name: [] for name in prompts}
    for event in finish_all(engine):
        outputs[event.job_id] += event.tokens
    assert outputs == alone


def test_a_prompt_that_was_seen_starts_after_its_cached_prefix(engine: Engine) -> None:
    prompt = [(3 * i) % 90 for i in range(40)]
    first, _ = run(engine, job("first", prompt))
    second, _ = run(engine, job("second", prompt))
    assert second == first
    stats = engine.stats()
    assert (stats.prefix_queried_tokens, stats.prefix_hit_tokens) == (80, 32)
    assert stats.kv_tokens_used == 0


def test_jobs_of_another_salt_start_from_the_beginning(engine: Engine) -> None:
    for salt in ("one", "other"):
        run(engine, msgspec.structs.replace(job(salt, [7] * 40), cache_salt=salt))
    assert engine.stats().prefix_hit_tokens == 0


def test_the_prefix_cache_can_be_switched_off(directory: Path) -> None:
    engine = build(EngineSpec("replica", directory, {**SMALL, "prefix_cache": False}))
    for name in ("first", "second"):
        run(engine, job(name, [7] * 40))
    assert engine.stats().prefix_hit_tokens == 0


@pytest.mark.parametrize("swap_bytes", [0, 1 << 20])
def test_jobs_that_gave_way_to_others_go_on_where_they_were(
    directory: Path, swap_bytes: int
) -> None:
    options = {"max_context_tokens": 64, "max_running": 4, "kv_cache_tokens": 96, "exact": True}
    engine = build(EngineSpec("replica", directory, {**options, "swap_bytes": swap_bytes}))
    jobs = [job(f"job-{i}", [i + 1] * 20, max_tokens=30) for i in range(4)]
    alone = {each.job_id: run(engine, each)[0] for each in jobs}
    for each in jobs:
        engine.submit(msgspec.structs.replace(each, cache_salt="together"), 1)
    outputs: dict[str, list[int]] = {each.job_id: [] for each in jobs}
    for event in finish_all(engine):
        outputs[event.job_id] += event.tokens
    assert engine.stats().preemptions
    assert outputs == alone


def test_a_smaller_priority_is_answered_first(directory: Path) -> None:
    engine = build(EngineSpec("replica", directory, {**SMALL, "max_running": 1}))
    for name, priority in (("late", 1), ("early", -1), ("middle", 0)):
        engine.submit(msgspec.structs.replace(job(name), priority=priority), 1)
    finished = [event.job_id for event in finish_all(engine) if event.finish is not None]
    assert finished == ["early", "middle", "late"]


def test_logits_that_are_not_finite_end_their_job_and_no_other(altered: Path) -> None:
    weights = load_file(altered / "model.safetensors")
    weights["model.embed_tokens.weight"][50] = torch.nan
    save_file(weights, altered / "model.safetensors", metadata={"format": "pt"})
    engine = build(EngineSpec("replica", altered, SMALL))
    healthy, _ = run(engine, job("healthy"))
    for round_ in range(3):
        engine.submit(job(f"poisoned-{round_}", [3] * 20 + [50]), 1)
        engine.submit(job(f"healthy-{round_}"), 1)
        outputs: dict[str, list[int]] = {}
        for event in finish_all(engine):
            outputs.setdefault(event.job_id, []).extend(event.tokens)
            if event.job_id.startswith("poisoned"):
                assert event.finish is FinishReason.ERROR
                assert "not finite" in event.error
        assert outputs[f"healthy-{round_}"] == healthy
        assert outputs[f"poisoned-{round_}"] == []


async def test_the_next_step_has_a_bound_from_the_first_one_on(engine: Engine) -> None:
    await wait_until(lambda: engine.expected_step_s() == 0, "its weights are there")
    engine.submit(job(), 1)
    assert engine.expected_step_s() > 0


def test_loading_is_reported_byte_by_byte(directory: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    with listening(lambda *step: heard.append(step)):
        build(EngineSpec("replica", directory, SMALL))
    weights = [(done, total) for phase, done, total in heard if phase == "weights"]
    assert [done for done, _ in weights] == sorted(done for done, _ in weights)
    # The last part may still be on its way: the first prompt follows it through the layers.
    assert 0 < weights[-1][0] <= weights[-1][1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_contxt_tokens": 5}, "unknown option 'max_contxt_tokens'.*max_context_tokens"),
        ({"dtype": "float8"}, "dtype"),
        ({"exact": "yes"}, "exact"),
        ({"max_running": 0}, "max_running"),
        ({"swap_bytes": 1 << 43}, "MiB are available"),
        ({"max_running": 64, "step_token_budget": 8}, "step_token_budget"),
        ({"max_context_tokens": 257}, "the model was made for 256"),
        ({"kv_cache_tokens": 100, "max_context_tokens": 200}, "less than one sequence"),
        ({"kv_cache_bytes": 100}, "less than one sequence"),
        ({"kv_cache_tokens": 1 << 40}, "MiB are available"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    directory: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        build(EngineSpec("replica", directory, options))


def test_a_config_larger_than_its_checkpoint_is_refused_before_memory_is_taken(
    altered: Path,
) -> None:
    config = json.loads((altered / "config.json").read_text())
    config.update(hidden_size=1 << 20, intermediate_size=1 << 20, vocab_size=1 << 20)
    (altered / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="calls for"):
        build(EngineSpec("replica", altered, SMALL))

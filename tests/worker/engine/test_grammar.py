"""Jobs with grammars through the whole engine: what they say matches, and nobody else notices."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from llguidance import LLMatcher
from tokenizers import Tokenizer

from infra.wire import FinishReason, Grammar, GrammarKind, JobSpec, Sampling, TokenEvent
from tests.fixtures.byte_tokenizer import ByteTokens
from tests.fixtures.tiny_llama import TinyLlama
from worker.engine.base import Engine, EngineSpec
from worker.engine.torch_engine import build

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
PERSON = Grammar(GrammarKind.JSON_SCHEMA, json.dumps(SCHEMA))
DATE = Grammar(GrammarKind.REGEX, r"[0-9]{4}-[0-9]{2}")
CHOICE = Grammar(GrammarKind.LARK, 'start: "yes" | "no" | "maybe"')
PROMPT = [5, 17, 33, 2, 60]
OPTIONS = {
    "dtype": "float32",
    "exact": True,
    "max_context_tokens": 400,
    "max_running": 8,
    "step_token_budget": 11,
    "kv_cache_tokens": 4096,
}


@pytest.fixture(scope="module")
def directory(tiny_llama: TinyLlama, byte_tokens: ByteTokens) -> Path:
    """A random model, whose head is wider than its tokenizer: what it says is chaos."""
    end = byte_tokens.end
    directory = tiny_llama(
        num_hidden_layers=1,
        vocab_size=byte_tokens.count + 7,
        eos_token_id=end,
        max_position_embeddings=400,
    )
    shutil.copyfile(byte_tokens.directory / "tokenizer.json", directory / "tokenizer.json")
    return directory


@pytest.fixture(params=[False, True], ids=["plain", "overlapped"])
def engine(request: pytest.FixtureRequest, directory: Path) -> Engine:
    return build(EngineSpec("replica", directory, {**OPTIONS, "overlap": request.param}))


def job(name: str, grammar: Grammar | None, prompt: list[int] | None = None, **changes: Any) -> Any:
    delivered = changes.pop("delivered", [])
    settings = {"max_tokens": 350, "temperature": 1.0, "grammar": grammar, **changes}
    return JobSpec(name, "request", prompt or PROMPT, Sampling(**settings), delivered=delivered)


def run(engine: Engine, *jobs: JobSpec) -> dict[str, tuple[list[int], TokenEvent]]:
    """Outputs and last events, by name."""
    outputs = {each.job_id: list(each.delivered) for each in jobs}
    last: dict[str, TokenEvent] = {}
    events = [end for each in jobs if (end := engine.submit(each, 1)) is not None]
    while events or engine.stats().running + engine.stats().waiting:
        for event in events:
            assert event.index == len(outputs[event.job_id])
            outputs[event.job_id] += event.tokens
            last[event.job_id] = event
        events = engine.step()
    for event in events:
        last[event.job_id] = event
    return {name: (output, last[name]) for name, output in outputs.items()}


def check_person(text: str) -> None:
    person = json.loads(text)
    assert list(person) == ["name", "age", "tags"]
    assert len(person["name"]) <= 12
    assert 0 <= person["age"] <= 150
    assert set(person["tags"]) <= {"a", "b"}
    assert len(person["tags"]) <= 2


def test_whatever_is_sampled_matches_and_ends(engine: Engine, byte_tokens: ByteTokens) -> None:
    jobs = [job(f"person-{seed}", PERSON, seed=seed) for seed in range(8)]
    jobs += [job(f"date-{seed}", DATE, seed=seed) for seed in range(4)]
    jobs += [job(f"choice-{seed}", CHOICE, seed=seed) for seed in range(4)]
    said = run(engine, *jobs)
    for name, (output, last) in said.items():
        text = byte_tokens.text(output)
        assert last.finish is FinishReason.STOP, (name, text, last)
        if name.startswith("person"):
            check_person(text)
        elif name.startswith("date"):
            assert re.fullmatch(DATE.text, text)
        else:
            assert text in ("yes", "no", "maybe")
    assert len({tuple(output) for output, _ in said.values()}) > 8, "seeds differ"
    assert engine.stats().kv_tokens_used == 0


def test_free_neighbours_say_what_they_say_alone(engine: Engine) -> None:
    free = [job(f"free-{seed}", None, [seed + 1] * 9, seed=seed, max_tokens=40) for seed in (1, 2)]
    alone = {name: output for each in free for name, (output, _) in run(engine, each).items()}
    bound = [job(f"bound-{seed}", PERSON, seed=seed) for seed in range(4)]
    together = run(engine, *bound[:2], free[0], *bound[2:], free[1])
    assert {each.job_id: together[each.job_id][0] for each in free} == alone
    assert {each.job_id: run(engine, each)[each.job_id][0] for each in bound} == {
        each.job_id: together[each.job_id][0] for each in bound
    }


def test_a_resumed_job_continues_the_same_output(engine: Engine) -> None:
    whole, _ = run(engine, job("a", PERSON, seed=3))["a"]
    for count in (1, len(whole) // 2, len(whole) - 1):
        resumed, last = run(engine, job("a", PERSON, seed=3, delivered=whole[:count]))["a"]
        assert resumed == whole
        assert last.finish is FinishReason.STOP
    complete, last = run(engine, job("a", PERSON, seed=3, delivered=whole))["a"]
    assert (complete, last.tokens, last.finish) == (whole, [], FinishReason.STOP)


def test_an_output_goes_on_after_its_sequence_was_preempted(
    directory: Path, byte_tokens: ByteTokens
) -> None:
    options = {**OPTIONS, "kv_cache_tokens": 400, "block_tokens": 4, "overlap": True}
    crowded = build(EngineSpec("replica", directory, options))
    roomy = build(EngineSpec("replica", directory, OPTIONS))
    jobs = [job(f"person-{seed}", PERSON, seed=seed) for seed in range(8)]
    assert run(crowded, *jobs) == run(roomy, *jobs)


def test_plain_and_overlapped_say_the_same(directory: Path) -> None:
    jobs = [job(f"person-{seed}", PERSON, seed=seed) for seed in range(6)]
    jobs.insert(3, job("free", None, max_tokens=30))
    plain, overlapped = (
        build(EngineSpec("replica", directory, {**OPTIONS, "overlap": overlap}))
        for overlap in (False, True)
    )
    assert run(plain, *jobs) == run(overlapped, *jobs)


def test_a_refused_grammar_ends_its_own_job_with_the_reason(engine: Engine) -> None:
    wrong = Grammar(GrammarKind.REGEX, "((")
    said = run(engine, job("wrong", wrong), job("right", CHOICE), job("eos", CHOICE, ignore_eos=1))
    _, last = said["wrong"]
    assert (last.finish, last.attempt) == (FinishReason.ERROR, 1)
    assert "the grammar is refused" in last.error
    assert "unclosed group" in last.error
    assert said["right"][1].finish is FinishReason.STOP
    assert "ignore_eos" in said["eos"][1].error


def test_whatever_breaks_a_compilation_ends_its_own_job(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Panic(BaseException):
        """As what the library raises where it panics."""

    compiled = LLMatcher.grammar_from_regex

    def panics(text: str) -> str:
        if text == "panic":
            raise Panic("unreachable")
        return compiled(text)

    monkeypatch.setattr(LLMatcher, "grammar_from_regex", staticmethod(panics))
    said = run(engine, job("broken", Grammar(GrammarKind.REGEX, "panic")), job("right", CHOICE))
    assert said["broken"][1].finish is FinishReason.ERROR
    assert "Panic: unreachable" in said["broken"][1].error
    assert said["right"][1].finish is FinishReason.STOP


def test_an_output_that_nothing_can_continue_ends_its_own_job(
    engine: Engine, byte_tokens: ByteTokens
) -> None:
    [digit] = byte_tokens.ids("1")
    only = Grammar(GrammarKind.REGEX, "1{4}")
    impatient = job("impatient", only, min_tokens=4, max_tokens=9, stop_token_ids=(digit,))
    said = run(engine, impatient, job("fine", CHOICE))
    assert said["impatient"][1].finish is FinishReason.ERROR
    assert "no token is allowed" in said["impatient"][1].error
    assert said["fine"][1].finish is FinishReason.STOP


def test_a_job_is_cancelled_while_its_grammar_is_compiled(engine: Engine) -> None:
    engine.submit(job("a", PERSON), 1)
    assert engine.stats().waiting == 1
    engine.cancel("a")
    assert engine.stats().waiting == 0
    assert engine.step() == []


def test_a_limit_cuts_an_output_where_it_stands(engine: Engine, byte_tokens: ByteTokens) -> None:
    output, last = run(engine, job("a", PERSON, max_tokens=3))["a"]
    assert len(output) == 3
    assert last.finish is FinishReason.LENGTH
    assert byte_tokens.text(output).startswith("{")


def test_the_real_model_fills_in_a_form(smollm2_directory: Path) -> None:
    tokenizer = Tokenizer.from_file(str(smollm2_directory / "tokenizer.json"))
    question = "<|im_start|>user\nDescribe Ada, 36, as JSON.<|im_end|>\n<|im_start|>assistant\n"
    prompt = tokenizer.encode(question).ids
    options = {"max_context_tokens": 512, "kv_cache_tokens": 4096}
    engine = build(EngineSpec("replica", smollm2_directory, options))
    jobs = [job(f"person-{seed}", PERSON, prompt, seed=seed) for seed in range(4)]
    said = run(engine, *jobs, job("greedy", CHOICE, prompt, temperature=0.0))
    for seed in range(4):
        output, last = said[f"person-{seed}"]
        assert last.finish is FinishReason.STOP
        check_person(tokenizer.decode(output))
    assert tokenizer.decode(said["greedy"][0]) in ("yes", "no", "maybe")

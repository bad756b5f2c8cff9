"""Grammars that take too long end their own jobs, and those that wait behind them go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from infra.wire import Grammar, GrammarKind, JobSpec, Sampling
from tests.fixtures.byte_tokenizer import ByteTokens
from worker.engine.grammar import compilation
from worker.engine.grammar.compilation import LIMIT_S, Compilations, Compiled
from worker.engine.grammar.compiler import GrammarCompiler
from worker.engine.grammar.matcher import Matcher

ENDLESS = Grammar(GrammarKind.REGEX, "endless")


class Compiler(GrammarCompiler):
    """A real one, for which one grammar takes until it is let go."""

    def __init__(self, tokens: ByteTokens) -> None:
        super().__init__(tokens.directory, tokens.count, frozenset({tokens.end}))
        self.let_go = threading.Event()
        self.stuck = threading.Semaphore(0)

    def matcher(self, grammar: Grammar, delivered: Sequence[int]) -> Matcher:
        if grammar == ENDLESS:
            self.stuck.release()
            self.let_go.wait()
        return super().matcher(grammar, delivered)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def compiler(byte_tokens: ByteTokens) -> Iterator[Compiler]:
    compiler = Compiler(byte_tokens)
    yield compiler
    compiler.let_go.set()


def job(name: str, grammar: Grammar = ENDLESS) -> JobSpec:
    return JobSpec(name, "request", [1], Sampling(max_tokens=4, grammar=grammar))


def regex(text: str) -> Grammar:
    return Grammar(GrammarKind.REGEX, text)


def wait_for(compilations: Compilations) -> list[Compiled]:
    """The next ones that are ready, from another thread."""
    for _ in range(1000):
        if ready := compilations.take_ready(0.05):
            return ready
    raise AssertionError("nothing was compiled")


def test_a_grammar_that_takes_too_long_ends_its_job_and_lets_others_go_on(
    compiler: Compiler,
) -> None:
    clock = Clock()
    compilations = Compilations(compiler, clock)
    assert not compilations.start(job("endless"), 1)
    compiler.stuck.acquire()
    clock.now_s = LIMIT_S / 2
    assert not compilations.start(job("behind", regex("a")), 1)
    assert compilations.take_ready() == []
    clock.now_s = LIMIT_S
    [late] = compilations.take_ready()
    assert late.job.job_id == "endless" and late.matcher is None
    assert "not compiled within 30 s" in late.refusal
    [ready] = wait_for(compilations)
    assert ready.job.job_id == "behind" and ready.matcher is not None
    compilations.close()


def test_threads_that_are_stuck_are_few(compiler: Compiler) -> None:
    clock = Clock()
    compilations = Compilations(compiler, clock)
    for round_ in range(1, compilation.MAX_STUCK + 2):
        compilations.start(job(f"endless-{round_}"), 1)
        compiler.stuck.acquire()
        clock.now_s = round_ * LIMIT_S
        assert len(compilations.take_ready()) == 1
    compilations.start(job("behind", regex("a")), 1)
    assert compilations.take_ready(0.01) == []
    compiler.let_go.set()
    [ready] = wait_for(compilations)
    assert ready.matcher is not None
    compilations.close()


def test_grammars_beyond_the_bound_are_refused_at_once(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "MAX_WAITING", 2)
    compilations = Compilations(compiler)
    assert [bool(compilations.start(job(name), 1)) for name in "abc"] == [False, False, True]
    compilations.cancel("a")
    assert not compilations.start(job("d"), 1)
    compilations.close()

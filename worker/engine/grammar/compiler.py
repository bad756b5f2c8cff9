"""Grammars compiled for one model's tokens."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from llguidance import LLMatcher, LLTokenizer

from infra.grammar import GrammarRefused, compiled, grammar_tokens
from infra.wire import Grammar
from worker.engine.grammar.matcher import GrammarBroken, Matcher

TOKENIZER_FILE = "tokenizer.json"
_KEPT = 64


class GrammarCompiler:
    """Keeps what it compiled last: the choices of a request, and often whole deployments, share a
    grammar. Reading the tokenizer takes some tenths of a second, so it waits for the first one."""

    def __init__(self, directory: Path | None, vocabulary: int, end_tokens: frozenset[int]) -> None:
        """`vocabulary`: width of the logits, which may exceed the tokenizer's; tokens that it does
        not know are never allowed."""
        self._directory = directory
        self._vocabulary = vocabulary
        self._end_tokens = end_tokens
        self._tokenizer: LLTokenizer | None = None
        self._compiled: OrderedDict[Grammar, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def matcher(self, grammar: Grammar, delivered: Sequence[int]) -> Matcher:
        """A matcher after the tokens that were delivered; from any thread, a millisecond for usual
        grammars and up to seconds for the largest ones.

        Raises:
            GrammarRefused: the grammar, or this model, does not allow it.
        """
        native = self._native(grammar)
        try:
            return Matcher(native.deep_copy(), min(self._end_tokens), delivered)
        except GrammarBroken as error:
            raise GrammarRefused(f"what was delivered does not match it: {error}") from error

    def _native(self, grammar: Grammar) -> LLMatcher:
        with self._lock:
            native = self._compiled.pop(grammar, None)
            tokens = self._loaded()
        if native is None:
            native = compiled(grammar, tokens)
        with self._lock:
            self._compiled[grammar] = native
            if len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
        return native

    def _loaded(self) -> LLTokenizer:
        if self._tokenizer is None:
            self._tokenizer = self._load()
        return self._tokenizer

    def _load(self) -> LLTokenizer:
        path = None if self._directory is None else self._directory / TOKENIZER_FILE
        if path is None or not path.exists():
            raise GrammarRefused(
                f"the model has no {TOKENIZER_FILE}, which grammars need: import it again"
            )
        return grammar_tokens(path.read_text(), self._vocabulary, self._end_tokens)

"""Grammars compiled for one model's tokens."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from llguidance import LLMatcher, LLTokenizer

from infra.grammar import GrammarRefused, limits, shortened, source_of
from infra.wire import Grammar
from worker.engine.grammar.matcher import GrammarBroken, Matcher

TOKENIZER_FILE = "tokenizer.json"
_KEPT = 64
_SILENT = 0


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
        with self._lock:
            native = self._native(grammar)
        try:
            return Matcher(native.deep_copy(), min(self._end_tokens), delivered)
        except GrammarBroken as error:
            raise GrammarRefused(f"what was delivered does not match it: {error}") from error

    def _native(self, grammar: Grammar) -> LLMatcher:
        native = self._compiled.pop(grammar, None)
        if native is None:
            source = source_of(grammar)
            native = LLMatcher(self._loaded(), source, log_level=_SILENT, limits=limits())
            if native.is_error():
                raise GrammarRefused(shortened(native.get_error()))
        self._compiled[grammar] = native
        if len(self._compiled) > _KEPT:
            self._compiled.popitem(last=False)
        return native

    def _loaded(self) -> LLTokenizer:
        if self._tokenizer is None:
            self._tokenizer = self._load()
        return self._tokenizer

    def _load(self) -> LLTokenizer:
        if not self._end_tokens:
            raise GrammarRefused(
                "this model names no end-of-sequence token, so no output could end where its "
                "grammar does: import the model with an eos_token_id"
            )
        path = None if self._directory is None else self._directory / TOKENIZER_FILE
        if path is None or not path.exists():
            raise GrammarRefused(
                f"the model has no {TOKENIZER_FILE}, which grammars need: import it again"
            )
        try:
            text = path.read_text()
            return LLTokenizer(text, n_vocab=self._vocabulary, eos_token=sorted(self._end_tokens))
        except ValueError as error:
            reason = shortened(str(error))
            raise GrammarRefused(f"the model's tokenizer cannot follow one: {reason}") from error

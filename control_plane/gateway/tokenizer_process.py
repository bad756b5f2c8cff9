"""One tokenizer process: renders chat templates, tokenises and compiles grammars, one request at a
time.

`python -m control_plane.gateway.tokenizer_process` speaks `tokenizer_messages` on stdin and stdout.
It ends when stdin does. What it runs comes with models, so it may use a bounded amount of memory,
and its parent kills it when it takes too long.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import BinaryIO

import msgspec

from control_plane.gateway.chat_template import (
    Objects,
    Render,
    TemplateRefused,
    compile_template,
)
from control_plane.gateway.tokenizer_messages import (
    LENGTH_BYTES,
    Checked,
    CheckGrammars,
    EncodeChat,
    Encoded,
    EncodeTexts,
    Load,
    Prompt,
    ToTokenizer,
    Unacceptable,
    frame,
    remember,
)
from control_plane.gateway.tools.families import told_in_words
from control_plane.gateway.tools.prompt import as_objects, as_text
from infra.grammar import GrammarRefused, compiled, grammar_tokens
from infra.wire import Grammar, TextAssets

_MAX_MEMORY_BYTES = 4 << 30
_MODELS_WITH_GRAMMARS = 4
"""Tens of megabytes each, up to a few hundred; made again in some tenths of a second."""
_tokens_of = lru_cache(maxsize=_MODELS_WITH_GRAMMARS)(grammar_tokens)


class LoadedText:
    """The text side of one model, ready to use."""

    def __init__(self, assets: TextAssets) -> None:
        from tokenizers import Tokenizer

        self._assets = assets
        self._tokenizer = Tokenizer.from_str(assets.tokenizer_json)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._bos_id = self._tokenizer.token_to_id(assets.bos_token) if assets.add_bos else None
        self._render: Render | None = None
        normalizes = self._tokenizer.normalizer is not None
        longest = max(map(len, self._tokenizer.get_vocab()), default=1)
        self._max_token_chars = 0 if normalizes else longest

    def encode_chat(self, request: EncodeChat) -> Prompt:
        """Special tokens in the rendered text are parsed, as transformers does.

        Raises:
            TemplateRefused: the model has no template, or it does not take these messages.
        """
        assets = self._assets
        if not assets.chat_template:
            raise TemplateRefused("this model has no chat template; use /v1/completions")
        if self._render is None:
            self._render = compile_template(assets.chat_template)
        tools: Objects = json.loads(request.tools)
        messages = as_objects(request.messages)
        if told_in_words(assets.chat_template):
            messages, tools = as_text(messages, tools), ()
        text = self._render(
            messages, assets.bos_token, assets.eos_token, tools, json.loads(request.arguments)
        )
        return self._encode(text, request.max_tokens)

    def encode_text(self, text: str, max_tokens: int) -> Prompt:
        prompt = self._encode(text, max_tokens)
        if self._bos_id is None:
            return prompt
        return Prompt(
            prompt.count + 1, [self._bos_id, *prompt.ids] if prompt.ids or not text else []
        )

    def check(self, grammar: Grammar, vocabulary: int) -> None:
        """Compile a grammar for the tokens of the model.

        Raises:
            GrammarRefused: with the reason.
        """
        assets = self._assets
        compiled(grammar, _tokens_of(assets.tokenizer_json, vocabulary, assets.eos_token_ids))

    def _encode(self, text: str, max_tokens: int) -> Prompt:
        if self._max_token_chars:
            at_least = len(text) // self._max_token_chars
            if at_least > max_tokens:
                return Prompt(at_least)
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return Prompt(len(ids), ids if len(ids) <= max_tokens else [])


def answer(loaded: Mapping[str, LoadedText], request: EncodeChat | EncodeTexts) -> msgspec.Struct:
    """`Encoded`, or `Unacceptable` where the request is at fault."""
    text = loaded.get(request.digest)
    if text is None:
        return Unacceptable(f"no text assets {request.digest} are loaded")
    try:
        if isinstance(request, EncodeChat):
            return Encoded([text.encode_chat(request)])
        return Encoded([text.encode_text(each, request.max_tokens) for each in request.texts])
    except TemplateRefused as error:
        return Unacceptable(str(error))
    except MemoryError:
        return Unacceptable("the prompt needs too much memory to be rendered")


def check_grammars(loaded: Mapping[str, LoadedText], request: CheckGrammars) -> Checked:
    text = loaded[request.digest]
    refusals: list[str] = []
    for grammar in request.grammars:
        try:
            text.check(grammar, request.vocabulary)
        except GrammarRefused as error:
            refusals.append(str(error))
        else:
            refusals.append("")
    return Checked(refusals)


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer requests until the source ends."""
    loaded: dict[str, LoadedText] = {}
    while body := _read_frame(source):
        request = msgspec.msgpack.decode(body, type=ToTokenizer)
        if isinstance(request, Load):
            remember(loaded, request.digest, LoadedText(request.assets))
            continue
        if isinstance(request, CheckGrammars):
            sink.write(frame(check_grammars(loaded, request)))
        else:
            sink.write(frame(answer(loaded, request)))
        sink.flush()


def _read_frame(source: BinaryIO) -> bytes:
    header = source.read(LENGTH_BYTES)
    return source.read(int.from_bytes(header, "little")) if len(header) == LENGTH_BYTES else b""


def main() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Nothing but frames may reach the pipe, whatever a library prints.
    sink = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin.buffer, sink)


if __name__ == "__main__":
    main()

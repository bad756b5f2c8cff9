"""llama.cpp compiled on this machine (by `llama-cpp-python`), its C API called as `llama-parallel`
does: prompts in batches, then one batch a step with a token of every sequence, greedy."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from loadtests.benchmarks.arms.answering import Answer, Commands, answer
from loadtests.benchmarks.engine.wave import Prompts, rate

_BATCH_TOKENS = 512


class _Context:
    """A llama.cpp context of several sequences that run in step."""

    def __init__(self, settings: dict[str, Any]) -> None:
        import llama_cpp

        self._api = llama_cpp
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_load_from_file(
            settings["model"].encode(), llama_cpp.llama_model_default_params()
        )
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        asked = llama_cpp.llama_context_default_params()
        asked.n_ctx = settings["streams"] * settings["context_tokens"]
        asked.n_seq_max = settings["streams"]
        asked.n_batch = asked.n_ubatch = _BATCH_TOKENS
        asked.n_threads = asked.n_threads_batch = settings["threads"]
        self._context = llama_cpp.llama_init_from_model(model, asked)
        self._batch = llama_cpp.llama_batch_init(_BATCH_TOKENS, 0, 1)

    def clear(self) -> None:
        self._api.llama_memory_clear(self._api.llama_get_memory(self._context), True)

    def decode(self, tokens: list[tuple[int, int, int, bool]]) -> list[Any]:
        """Run (token, position, sequence, wanted) rows; returns logits of the wanted ones."""
        import numpy

        found = []
        for start in range(0, len(tokens), _BATCH_TOKENS):
            part = tokens[start : start + _BATCH_TOKENS]
            batch = self._batch
            batch.n_tokens = len(part)
            for row, (token, position, sequence, wanted) in enumerate(part):
                batch.token[row] = token
                batch.pos[row] = position
                batch.n_seq_id[row] = 1
                batch.seq_id[row][0] = sequence
                batch.logits[row] = wanted
            if self._api.llama_decode(self._context, batch):
                raise RuntimeError("llama_decode failed")
            for row, (_, _, _, wanted) in enumerate(part):
                if wanted:
                    values = self._api.llama_get_logits_ith(self._context, row)
                    # The next batch writes over them.
                    found.append(numpy.ctypeslib.as_array(values, (self.vocabulary,)).copy())
        return found


def load(settings: dict[str, Any]) -> tuple[Answer, Commands]:
    import llama_cpp
    import numpy

    context = _Context(settings)

    def generate(prompts: Prompts, max_tokens: int) -> Answer:
        began = time.perf_counter()
        context.clear()
        logits = context.decode(
            [
                (token, position, sequence, position == len(prompt) - 1)
                for sequence, prompt in enumerate(prompts)
                for position, token in enumerate(prompt)
            ]
        )
        tokens = len(logits)
        for step in range(max_tokens - 1):
            logits = context.decode(
                [
                    (int(row.argmax()), len(prompts[sequence]) + step, sequence, True)
                    for sequence, row in enumerate(logits)
                ]
            )
            tokens += len(logits)
        return rate(tokens, len(prompts) * max_tokens, time.perf_counter() - began)

    def score(tokens: list[int]) -> Answer:
        context.clear()
        rows = [(token, position, 0, True) for position, token in enumerate(tokens)]
        logits = numpy.stack(context.decode(rows))[:-1].astype(numpy.float64)
        logits -= logits.max(axis=1, keepdims=True)
        sums = numpy.log(numpy.exp(logits).sum(axis=1))
        chosen = logits[numpy.arange(len(tokens) - 1), tokens[1:]]
        return {"negative_log_likelihood": float((sums - chosen).sum())}

    facts = {
        "version": f"llama-cpp-python {version('llama-cpp-python')}, compiled here",
        "format": "Q8_0",
        "mode": "one batch a step",
        "instructions": llama_cpp.llama_print_system_info().decode(),
    }
    return facts, {"generate": generate, "score": score}


if __name__ == "__main__":
    answer(load)

"""llama.cpp as the wheel `xllamacpp` carries it: its own server with a slot a stream."""

from __future__ import annotations

import json
import time
import urllib.request
from importlib.metadata import version
from typing import Any

from loadtests.benchmarks.arms.answering import Answer, Commands, answer
from loadtests.benchmarks.engine.wave import Prompts, rate

_ANSWER_LIMIT_S = 300.0


def load(settings: dict[str, Any]) -> tuple[Answer, Commands]:
    import xllamacpp

    streams = settings["streams"]
    asked = xllamacpp.CommonParams()
    asked.model.path = settings["model"]
    asked.n_parallel = streams
    asked.n_ctx = streams * settings["context_tokens"]
    asked.cont_batching = True
    asked.cache_prompt = False
    asked.cpuparams.n_threads = settings["threads"]
    asked.cpuparams_batch.n_threads = settings["threads"]
    asked.hostnames = ["127.0.0.1"]
    asked.port = 0
    asked.ui = False
    server = xllamacpp.Server(asked)

    def generate(prompts: Prompts, max_tokens: int) -> Answer:
        body = {
            "prompt": [list(prompt) for prompt in prompts],
            "n_predict": max_tokens,
            "temperature": 0.0,
            "ignore_eos": True,
            "cache_prompt": False,
        }
        began = time.perf_counter()
        found = _post(f"{server.listening_address}/completion", body)
        elapsed_s = time.perf_counter() - began
        each = found if isinstance(found, list) else [found]
        tokens = sum(int(one["tokens_predicted"]) for one in each)
        return rate(tokens, len(prompts) * max_tokens, elapsed_s)

    facts = {
        "version": f"xllamacpp {version('xllamacpp')}",
        "format": "Q8_0",
        "mode": "server, continuous batching",
        "instructions": xllamacpp.get_system_info(),
    }
    return facts, {"generate": generate}


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"content-type": "application/json"}
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=_ANSWER_LIMIT_S) as reply:
        return json.load(reply)


if __name__ == "__main__":
    answer(load)

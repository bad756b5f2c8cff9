"""CTranslate2 with int8 weights and activations: one static batch a wave."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from loadtests.benchmarks.arms.answering import Answer, Commands, answer
from loadtests.benchmarks.engine.wave import Prompts, rate


def load(settings: dict[str, Any]) -> tuple[Answer, Commands]:
    if "isa" in settings:
        os.environ["CT2_FORCE_CPU_ISA"] = settings["isa"]
    import ctranslate2

    folder = Path(settings["model"])
    if not folder.exists():
        _convert(Path(settings["source"]), folder)
    words = json.loads((folder / "vocabulary.json").read_text())
    with _log() as said:
        engine = ctranslate2.Generator(
            str(folder),
            device="cpu",
            compute_type="int8",
            inter_threads=1,
            intra_threads=settings["threads"],
        )

    def generate(prompts: Prompts, max_tokens: int) -> Answer:
        spelled = [[words[token] for token in prompt] for prompt in prompts]
        began = time.perf_counter()
        found = engine.generate_batch(
            spelled,
            min_length=max_tokens,
            max_length=max_tokens,
            sampling_topk=1,
            include_prompt_in_result=False,
        )
        elapsed_s = time.perf_counter() - began
        tokens = sum(len(each.sequences_ids[0]) for each in found)
        return rate(tokens, len(prompts) * max_tokens, elapsed_s)

    def score(tokens: list[int]) -> Answer:
        [found] = engine.score_batch([[words[token] for token in tokens]], max_batch_size=1)
        return {"negative_log_likelihood": -sum(found.log_probs)}

    facts = {
        "version": f"ctranslate2 {version('ctranslate2')}",
        "format": f"int8 ({engine.compute_type})",
        "mode": "static batch",
        "instructions": _instructions("".join(said)),
    }
    return facts, {"generate": generate, "score": score}


@contextmanager
def _log() -> Iterator[list[str]]:
    """Catch what a library writes to standard error; it is in the list when the block has ended."""
    said: list[str] = []
    with tempfile.TemporaryFile() as caught:
        kept = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield said
        finally:
            said.append(os.pread(caught.fileno(), 1 << 20, 0).decode(errors="replace"))
            os.dup2(kept, 2)
            os.close(kept)


def _instructions(log: str) -> str:
    """Which of its builds the library has chosen: with CT2_VERBOSE=1 its log says so."""
    chosen = re.search(r"Selected ISA: (\w+)", log)
    return chosen[1] if chosen else "not told"


def _convert(source: Path, target: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    partial = target.with_suffix(".partial")
    TransformersConverter(str(source)).convert(str(partial), quantization="int8", force=True)
    partial.rename(target)


if __name__ == "__main__":
    answer(load)

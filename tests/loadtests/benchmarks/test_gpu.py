"""The GPU benchmark runs to its end: here on a CPU and a tiny shape, for its rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from loadtests.benchmarks.gpu.__main__ import main, measure
from loadtests.benchmarks.gpu.page import page
from loadtests.benchmarks.gpu.random_llama import RandomLlama
from loadtests.benchmarks.gpu.ready import problem
from loadtests.benchmarks.gpu.size import LLAMA_3_8B, AttentionCase, Size
from loadtests.benchmarks.report import Report

CPU = torch.device("cpu")
TINY = Size(
    rounds=2,
    model_name="tiny",
    config={
        **LLAMA_3_8B,
        "vocab_size": 97,
        "hidden_size": 64,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    dtype="float32",
    attention=(AttentionCase(3, 40), AttentionCase(2, 24, prefill=True)),
    attention_cache_bytes=1 << 18,
    copy_bytes=1 << 20,
    product_width=64,
    batches=(1, 3),
    context_tokens=20,
    decode_steps=4,
    prefill=(2, 30),
    step_token_budget=16,
)


def test_every_row_of_a_run_has_its_ceiling_from_the_same_run() -> None:
    torch.set_num_threads(1)
    report = Report("gpu", quick=True)
    measure(report, TINY, CPU)
    assert [row.name for row in report.rows] == [
        "attention.decode.3x40.vs_copy",
        "attention.decode.3x40.vs_sdpa",
        "attention.prefill.2x24.vs_sdpa",
        "loading.vs_pinned_copy",
        "loading.verified.vs_pinned_copy",
        "decode.tiny.1_sequences.vs_bandwidth",
        "decode.tiny.3_sequences.vs_bandwidth",
        "prefill.tiny.2x30.vs_matrix_peak",
    ]
    assert all(row.value > 0 and row.peer and row.ratio for row in report.rows)
    written = page(report, "no GPU")
    assert "decode.tiny.3_sequences.vs_bandwidth" in written
    assert "--quick" in written


def test_a_decode_step_reads_every_matrix_and_the_head_but_looks_embeddings_up() -> None:
    llama = RandomLlama.build(TINY, CPU)
    a_layer = 64 * (64 + 2 * 32) + 64 * 64 + 3 * 64 * 80
    assert llama.matrix_elements == 2 * a_layer
    assert llama.weight_bytes == 4 * (2 * a_layer + 97 * 64)
    assert llama.token_bytes == 2 * 2 * 2 * 16 * 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--json", str(tmp_path / "gpu.json")]) == 2
    assert "finds no GPU: check nvidia-smi" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_without_a_gpu_that_is_said_first_and_nothing_else(tmp_path: Path) -> None:
    def never(name: str) -> bool:
        pytest.fail(f"looked for {name} on a machine that cannot use it")

    assert problem(never, devices=tmp_path).startswith("no GPU")


def test_a_machine_that_lacks_a_part_is_told_which(tmp_path: Path) -> None:
    (tmp_path / "nvidia0").touch()
    lacking = problem(lambda name: name not in ("triton", "msgspec"), devices=tmp_path)
    assert "lacks triton, msgspec: install them" in lacking

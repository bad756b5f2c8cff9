from __future__ import annotations

from pathlib import Path

from loadtests.benchmarks.engine import code_size


def test_kernels_and_blank_lines_are_not_counted_and_the_longest_function_is_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "gpu.py").write_text("def kernel():\n    a = 1\n    b = 2\n    c = 3\n")
    (tmp_path / "engine.py").write_text(
        "x = 1\n\n\ndef short(): ...\n\n\ndef long():\n    return 1\n"
    )
    lines, longest = code_size.measure(tmp_path)
    assert (lines.name, lines.value) == ("code.worker_lines", 4)
    assert (longest.value, longest.remark) == (2, f"{tmp_path.name}/engine.py: long")

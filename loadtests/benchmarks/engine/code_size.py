"""How much code the worker is, so that growth is seen."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from loadtests.benchmarks.report import Row, row

_WORKER = Path(__file__).parents[3] / "worker"
_KERNELS = "kernels"


def measure(folder: Path = _WORKER) -> list[Row]:
    """Lines of `worker/` without its kernels (blank ones are not counted), and its longest function
    (from `def` to the end, docstring and all)."""
    files = [path for path in sorted(folder.rglob("*.py")) if not _is_kernel(path, folder)]
    texts = {path: path.read_text() for path in files}
    lines = sum(bool(line.strip()) for text in texts.values() for line in text.splitlines())
    longest, name = max(
        (length, f"{path.relative_to(folder.parent)}: {function}")
        for path, text in texts.items()
        for length, function in _functions(text)
    )
    return [
        row("code.worker_lines", [lines], "lines"),
        row("code.longest_function", [longest], "lines", remark=name),
    ]


def _is_kernel(path: Path, folder: Path) -> bool:
    return path.relative_to(folder).parts[0] == _KERNELS


def _functions(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.end_lineno - node.lineno + 1, node.name

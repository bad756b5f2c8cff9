"""The page of a run, for `docs/benchmarks/gpu.md`."""

from __future__ import annotations

from loadtests.benchmarks.report import Report, commit, machine

_HEAD = """# What the engine makes of a GPU

Written by `make gpu`; figures of another machine are another page. Each ratio is to what the same
GPU did in the same run: `vs_copy` and `vs_bandwidth` to the bandwidth of a large copy (bytes read
and written), `vs_matrix_peak` to a large square product, `vs_sdpa` to torch's attention over keys
that lie in one piece.
"""


def page(report: Report, gpu: str) -> str:
    """Markdown: what ran where, then the table."""
    about = machine()
    versions = ", ".join(f"{name} {found}" for name, found in about["packages"].items())
    lines = [
        _HEAD,
        f"- GPU: {gpu}",
        f"- CPU: {about['cpu']}, {about['cores']} cores; Python {about['python']}; {versions}",
        f"- Commit: {commit()}{' (--quick)' if report.quick else ''}",
        "",
        "```",
        report.table(),
        "```",
    ]
    return "\n".join(lines) + "\n"

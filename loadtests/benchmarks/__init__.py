"""Benchmarks: `python -m loadtests.benchmarks.NAME [--quick] [--json FILE]`."""

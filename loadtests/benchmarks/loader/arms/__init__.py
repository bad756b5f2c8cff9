"""Each loader as a process: `python -m loadtests.benchmarks.loader.arms.NAME SETTINGS`."""

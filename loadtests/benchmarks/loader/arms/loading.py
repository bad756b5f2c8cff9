"""What every loader's arm does: load one file when it is told to, and say how long that took."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch

from loadtests.benchmarks.arms.answering import Answer, Commands, answer
from loadtests.benchmarks.arms.cores import THREADS
from loadtests.benchmarks.loader.destination import Destination, Load


def serve(version: str, load: Load) -> None:
    """Answer until standard input ends. Settings: `expected`, a file (see `Destination`)."""

    def loaded(settings: dict[str, Any]) -> tuple[Answer, Commands]:
        torch.set_num_threads(THREADS)
        destination = Destination(Path(settings["expected"]))

        def prepare(kind: str) -> Answer:
            destination.prepare(kind)
            return {}

        def take(file: str, kind: str) -> Answer:
            told = destination.take(load, Path(file), kind)
            gc.collect()  # a mapping that lingers would keep the file in the page cache
            return dict(told)

        return {"version": version}, {"prepare": prepare, "load": take}

    answer(loaded)

"""Where a model's weights are read from. Decided here, once, before any of them is seen."""

from __future__ import annotations

import threading
from pathlib import Path

from infra.package_index import INDEX_FILE, CorruptIndex, parse_index
from infra.safetensors import WEIGHTS_FILE
from infra.telemetry import logger
from worker.loader.arena import Arena, ArenaFull
from worker.loader.checkpoint import Checkpoint
from worker.loader.fetch import FetchStopped, Unobtainable, fetch
from worker.loader.file_tier import FileTier
from worker.loader.landing import Landing, OwnLanding
from worker.loader.ledger import LandingFailed
from worker.loader.package import Package, is_package, read_head
from worker.loader.reader import ReadFailed
from worker.loader.weight_source import WeightSource
from worker.models.base import ModelError

_log = logger(__name__)


def open_weights(directory: Path, landing_path: str = "") -> WeightSource:
    """What a landing of this machine's agent brings; else the package in the directory; else its
    plain safetensors files.

    Raises:
        ModelError: there are none, or what is there is damaged.
    """
    if landing_path:
        try:
            return Package(_landing(landing_path, directory))
        except (LandingFailed, CorruptIndex) as error:
            if not (directory / WEIGHTS_FILE).exists():
                raise ModelError(f"the weights cannot be had: {error}") from error
            _log.warning("the weights are read from the model's folder", reason=str(error))
    if is_package(directory):
        return Package(land(directory))
    _log.warning(
        "the model is no package: its start takes longer, nothing tells damaged weights, and "
        "replicas do not share them; `tamer models pack` makes it one",
        model=str(directory),
    )
    return Checkpoint(directory)


def _landing(path: str, directory: Path) -> Landing:
    """Raises LandingFailed, CorruptIndex."""
    landing = Landing.open(path)
    index_file = directory / INDEX_FILE
    if index_file.exists():
        index = parse_index(index_file.read_bytes(), str(index_file))
        if index.root != landing.index.root:
            # The number of a file that was closed is given to the next one.
            raise LandingFailed(f"another model's weights are at {path} by now")
    return landing


def land(directory: Path, arena: Arena | None = None) -> OwnLanding:
    """Begin to read a package's directory; a thread of this process goes on with it.

    Args:
        arena: where to; left out, memory of this process alone.

    Raises:
        ModelError: its index, its header or the size of its file is not what it should be, or
            memory does not hold it.
    """
    index, header = read_head(directory)
    try:
        tier = FileTier(directory, index)
        landing = Landing.create(index, header, arena or Arena(index.data_bytes, shared=False))
    except (ReadFailed, ArenaFull) as error:
        raise ModelError(str(error)) from error

    def read() -> None:
        try:
            fetch(landing, [tier], where=str(directory / WEIGHTS_FILE))
        except (Unobtainable, FetchStopped, ArenaFull) as error:
            # Those who wait for the landing have been told.
            _log.error("the weights cannot be read", reason=str(error))

    threading.Thread(target=read, name="landing", daemon=True).start()
    return landing

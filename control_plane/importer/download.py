"""Fetch what a model needs of a remote source: a few small files, then the weights in parallel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from control_plane.importer.download_folder import DownloadFolder
from control_plane.importer.errors import DownloadBroke, DownloadFailed
from control_plane.importer.folder import Folder
from control_plane.importer.huggingface import read_config
from control_plane.importer.progress import Meter, Progress
from control_plane.importer.remote import Remote, RemoteFile, text_files, weight_files
from infra.safetensors import INDEX_FILE

_FILES_AT_ONCE = 4
_ATTEMPTS = 5
"""In a row that brought nothing; one that brought something starts the count anew."""
_FIRST_PAUSE_S = 0.5
_LOOK_EVERY_S = 0.1


class _Ended(Exception):
    """Another file of the same download failed."""


def download(remote: Remote, folder: DownloadFolder, progress: Progress) -> None:
    """Complete the folder. A model that Tamer cannot serve is refused before its weights come.

    Raises:
        ImportRefused: one line that says why; what has arrived stays for the next try.
    """
    _fetch_all(remote, text_files(remote), folder, progress, "text files")
    here = Folder(folder.path)
    read_config(here)
    index = here.document(INDEX_FILE) if here.has(INDEX_FILE) else None
    weights = weight_files(remote, index)
    folder.reserve(sum(file.size_bytes - folder.held_bytes(file) for file in weights))
    _fetch_all(remote, weights, folder, progress, "download")


def _fetch_all(
    remote: Remote,
    files: list[RemoteFile],
    folder: DownloadFolder,
    progress: Progress,
    phase: str,
) -> None:
    meter = Meter(progress, phase, sum(file.size_bytes for file in files))
    meter.add(sum(folder.held_bytes(file) for file in files))
    stop = threading.Event()

    def moved(count_bytes: int) -> None:
        if stop.is_set():
            raise _Ended
        meter.add(count_bytes)

    def one(file: RemoteFile) -> None:
        try:
            _fetch(remote, file, folder, moved)
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        running = [pool.submit(one, file) for file in files if not folder.has(file)]
    errors = [error for each in running if (error := each.exception()) is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, _Ended)):
        raise error


def _fetch(
    remote: Remote, file: RemoteFile, folder: DownloadFolder, moved: Callable[[int], None]
) -> None:
    counted_bytes, vain = folder.held_bytes(file), 0

    def count(moved_bytes: int) -> None:
        nonlocal counted_bytes
        counted_bytes += moved_bytes
        moved(moved_bytes)

    while True:
        before_bytes = folder.held_bytes(file)
        try:
            remote.fetch(file, folder.part(file), count)
            folder.keep(file)
            return
        except DownloadBroke as error:
            held_bytes = folder.held_bytes(file)
            vain = 0 if held_bytes > before_bytes else vain + 1
            if vain == _ATTEMPTS:
                raise DownloadFailed(
                    f"{error}; {_ATTEMPTS} attempts failed: import it again, what came is kept"
                ) from error
            count(held_bytes - counted_bytes)
            _pause(_FIRST_PAUSE_S * 2**vain, moved)


def _pause(limit_s: float, moved: Callable[[int], None]) -> None:
    """Wait, but not for longer than anybody wants the file."""
    end = time.monotonic() + limit_s
    while (left_s := end - time.monotonic()) > 0:
        moved(0)
        time.sleep(min(left_s, _LOOK_EVERY_S))

"""Models that the API of a control plane serves out of its own folder, to machines that joined.

`tamer://models/<digest>` names one wherever it is read: which API that is, and with which right,
the reader knows.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from infra.storage.base import (
    BadKey,
    Moved,
    NotStored,
    StorageAway,
    StorageDenied,
    StorageError,
    ignore,
)
from infra.storage.http_ranges import HttpFile, Target
from infra.storage.tree import MANIFEST_FILE, TreeManifest, parse_manifest

PATH = "/api/v1/model-files"
_URI = re.compile(r"tamer://models/([0-9A-Za-z][0-9A-Za-z._-]{0,199})")
_LIMITS = httpx.Timeout(30.0, connect=10.0)
_TRIES = 6
"""In a row that bring nothing."""
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0

Take = Callable[[bytes], object]
Have = Callable[[], int]
"""Bytes so far."""


def served_uri(digest: str) -> str:
    return f"tamer://models/{digest}"


def served_digest(uri: str) -> str | None:
    """The digest that such a URI names; None where it is another kind of URI."""
    match = _URI.fullmatch(uri)
    return match[1] if match else None


class ServedTrees:
    """`tree_cache.RemoteTrees` over HTTP. A broken transfer goes on where it broke."""

    def __init__(self, url: str, credential: str) -> None:
        """`url` is the API's; the credential is what this machine joined with."""
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {credential}"}

    def uri(self, key: str) -> str:
        return served_uri(key)

    def manifest(self, key: str) -> TreeManifest:
        """Raises NotStored, Damaged, StorageDenied, StorageAway."""
        body = self.read(key, MANIFEST_FILE)
        return parse_manifest(body, f"{self.uri(key)}/{MANIFEST_FILE}")

    def read(self, key: str, name: str) -> bytes:
        """One small file of a tree. Raises NotStored, StorageDenied, StorageAway."""
        body = bytearray()
        with self._client() as client:
            self._read(client, key, name, body.extend, lambda: len(body))
        return bytes(body)

    def open(self, key: str, name: str, size_bytes: int) -> HttpFile:
        """One file of a tree, to be read in parts; nothing is asked yet."""
        target = Target(f"{self._url}{PATH}/{key}/{name}", self._headers)
        return HttpFile(f"{self.uri(key)}/{name}", size_bytes, lambda: target)

    def download(self, key: str, names: list[str], folder: Path, moved: Moved = ignore) -> None:
        """Write files of a tree into a folder.

        Raises:
            NotStored: one of them is not there.
            StorageDenied: this machine may not read the model.
            StorageAway: the API does not answer, although it was asked several times.
        """
        with self._client() as client:
            for name in names:
                with (folder / name).open("xb") as file:

                    def take(chunk: bytes) -> None:
                        file.write(chunk)
                        moved(len(chunk))

                    self._read(client, key, name, take, file.tell)

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        headers = {**self._headers, "accept-encoding": "identity"}
        with httpx.Client(headers=headers, timeout=_LIMITS) as client:
            yield client

    def _read(self, client: httpx.Client, key: str, name: str, take: Take, have: Have) -> None:
        fruitless, pause_s = 0, _FIRST_PAUSE_S
        while True:
            began = have()
            try:
                self._read_on(client, key, name, take, began)
                return
            except (httpx.TransportError, StorageAway) as error:
                moved_on = have() > began
                fruitless = 0 if moved_on else fruitless + 1
                if fruitless >= _TRIES:
                    why = str(error) or type(error).__name__
                    raise StorageAway(f"{self._url} does not serve {name}: {why}") from error
                pause_s = _FIRST_PAUSE_S if moved_on else min(2 * pause_s, _LONGEST_PAUSE_S)
            time.sleep(pause_s)

    def _read_on(self, client: httpx.Client, key: str, name: str, take: Take, began: int) -> None:
        wanted = {"range": f"bytes={began}-"} if began else {}
        with client.stream("GET", f"{self._url}{PATH}/{key}/{name}", headers=wanted) as reply:
            if began and reply.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # the last piece was the end
            if not reply.is_success:
                raise _refusal(reply, f"{self.uri(key)}/{name}")
            if began and reply.status_code != httpx.codes.PARTIAL_CONTENT:
                raise BadKey(
                    f"{self._url} cannot go on in the middle of {name}: use a proxy that "
                    "passes Range on"
                )
            for chunk in reply.iter_raw():  # as it comes: what came before a break is kept
                take(chunk)


def _refusal(reply: httpx.Response, what: str) -> StorageError:
    if reply.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return StorageDenied(f"the control plane serves {what} to machines that must run it now")
    if reply.status_code == httpx.codes.NOT_FOUND:
        return NotStored(f"nothing lies at {what}: import the model again")
    return StorageAway(f"it answered {reply.status_code}")

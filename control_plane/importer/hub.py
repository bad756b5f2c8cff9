"""Models of the Hugging Face hub, through its own library; bytes are asked for by range, so that a
download goes on where it broke off, also in another process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, get_session, hf_hub_url
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from control_plane.importer.errors import DownloadBroke, DownloadFailed
from control_plane.importer.hub_errors import our_errors
from control_plane.importer.hub_source import HubSource
from control_plane.importer.progress import Progress
from control_plane.importer.remote import RemoteFile

_ATTEMPTS = 4
_FIRST_PAUSE_S = 0.5
_LIMITS = httpx2.Timeout(30.0, connect=10.0)

# The library would report what runs here, and ask the public hub for a list of what to look for.
constants.HF_HUB_DISABLE_TELEMETRY = True


class HubRemote:
    """`Remote` of one commit of one repository."""

    def __init__(
        self,
        wanted: HubSource,
        commit: str,
        files: dict[str, RemoteFile],
        endpoint: str,
        token: str,
    ) -> None:
        self.source = wanted.at(commit)
        self.version = commit
        self.files = files
        self._wanted = wanted
        self._endpoint = endpoint
        self._token = token

    def fetch(self, file: RemoteFile, part: Path, moved: Callable[[int], None]) -> None:
        have_bytes = part.stat().st_size if part.exists() else 0
        if have_bytes >= file.size_bytes:
            part.touch()
            return
        url = hf_hub_url(
            self._wanted.repository, file.name, revision=self.version, endpoint=self._endpoint
        )
        headers = build_hf_headers(token=self._token or False)
        headers |= {"Accept-Encoding": "identity", "Range": f"bytes={have_bytes}-"}
        with (
            our_errors(self._wanted, self._endpoint, bool(self._token)),
            get_session().stream("GET", url, headers=headers, timeout=_LIMITS) as answer,
        ):
            if answer.is_error:
                answer.read()
            hf_raise_for_status(answer)
            _write(answer, file, part, have_bytes, moved)


def open_hub(wanted: HubSource, endpoint: str, token: str, progress: Progress) -> HubRemote:
    """Ask the hub which commit the revision names, and what lies there.

    Raises:
        ImportRefused: there is no such model or revision, or we may not read it.
        DownloadFailed: the hub cannot be reached.
    """
    api = HfApi(endpoint=endpoint, token=token or False)
    attempt = 0
    while True:
        attempt += 1
        progress("ask the hub", 0, 0)
        try:
            with our_errors(wanted, endpoint, bool(token)):
                info = api.model_info(
                    wanted.repository,
                    revision=wanted.revision,
                    files_metadata=True,
                    timeout=_LIMITS.read,
                )
            break
        except DownloadBroke as error:
            if attempt == _ATTEMPTS:
                raise DownloadFailed(str(error)) from error
            time.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
    if not info.sha:
        raise DownloadFailed(f"{endpoint} does not say which commit {wanted.revision} is")
    files = {
        each.rfilename: RemoteFile(
            each.rfilename,
            each.size or 0,
            sha256=each.lfs.sha256 if each.lfs else "",
            git_sha1="" if each.lfs else each.blob_id or "",
        )
        for each in info.siblings or []
    }
    return HubRemote(wanted, info.sha, files, endpoint, token)


def _write(
    answer: httpx2.Response,
    file: RemoteFile,
    part: Path,
    have_bytes: int,
    moved: Callable[[int], None],
) -> None:
    resumed = answer.status_code == httpx2.codes.PARTIAL_CONTENT
    if resumed and not answer.headers.get("content-range", "").startswith(f"bytes {have_bytes}-"):
        raise DownloadBroke(f"{file.name} came from another place than was asked for")
    if not resumed and have_bytes:
        moved(-have_bytes)
        have_bytes = 0
    with part.open("ab" if resumed else "wb") as opened:
        for chunk in answer.iter_bytes():
            have_bytes += len(chunk)
            if have_bytes > file.size_bytes:
                raise DownloadBroke(f"{file.name} is longer than the hub said")
            opened.write(chunk)
            moved(len(chunk))
    if have_bytes < file.size_bytes:
        raise DownloadBroke(f"{file.name} ended after {have_bytes} of {file.size_bytes} bytes")

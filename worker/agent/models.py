"""The models of this worker's replicas: packages as landings, plain trees as folders."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from infra.package_index import INDEX_FILE
from infra.safetensors import WEIGHTS_FILE
from infra.settings import Settings
from infra.storage import opening
from infra.storage.base import Damaged, Moved, StorageError
from infra.storage.directory import uri_of
from infra.storage.hedging import HedgedFile
from infra.storage.served import ServedTrees, served_digest
from infra.storage.stored_tree import LocalTree, StoredTree, open_tree, own_manifest
from infra.storage.tree import MANIFEST_FILE, TreeManifest
from infra.storage.tree_cache import cached
from infra.wire import ReplicaSpec
from worker.agent.held_model import HeldModel
from worker.agent.metrics import CACHE_BYTES, HEDGED_READS
from worker.agent.package_fetch import PackageFetch
from worker.agent.peer_board import PeerBoard
from worker.agent.peer_server import SharedPackage
from worker.agent.shelf import Shelf
from worker.loader.cache_entry import CacheEntry
from worker.loader.chunk_cache import ChunkCache
from worker.loader.file_tier import FileTier
from worker.loader.landing import OwnLanding
from worker.loader.reader import ReadFailed
from worker.loader.stored_package import StoredPackage, is_package
from worker.loader.tiers.base import Tier
from worker.loader.tiers.disk import DiskTier
from worker.loader.tiers.peer import PeerTier
from worker.loader.tiers.store import StoreTier


class Models:
    """`open` is for threads. `close` when no replica runs any more."""

    def __init__(
        self,
        settings: Settings,
        board: PeerBoard | None = None,
        served: ServedTrees | None = None,
    ) -> None:
        """
        Args:
            board: how to find peers; None where there are none.
            served: reads tamer:// URIs; None where this machine cannot.
        """
        self._settings = settings
        self._board = board
        self._served = served
        self._cache = ChunkCache(settings.model_cache_dir, settings.model_cache_bytes)
        memory = settings.weights_memory_bytes or _machine_bytes() * 3 // 4
        self._shelf = Shelf(memory, settings.weights_kept_bytes or memory // 3)

    def open(self, spec: ReplicaSpec, moved: Moved) -> HeldModel:
        """The model of a replica. A package is still on its way when this returns, a plain tree is
        there.

        Args:
            moved: hears bytes of plain trees as they are fetched.

        Raises:
            StorageError: it is not there, is damaged, or cannot be read; the message says which.
        """
        kept = self._kept(spec.model_uri)
        if kept is not None:
            return self._remote(spec, kept)
        tree = open_tree(spec.model_uri, self._settings, self._served)
        if tree.folder is not None:
            return self._in_place(tree, tree.folder)
        manifest = own_manifest(tree)
        if is_package(manifest):
            return self._remote(spec, StoredPackage.read(tree, manifest))
        return self._plain(spec.model_uri, manifest, moved)

    def close(self) -> None:
        self._shelf.close()

    def _kept(self, uri: str) -> StoredPackage | None:
        """What the disk knows of it. A digest of content names the same tree wherever it lies, so
        the store need not be asked, and a start works while it is away."""
        folder = self._cache.packages / uri.rpartition("/")[2]
        if uri.startswith("file:") or not (folder / MANIFEST_FILE).is_file():
            return None
        try:
            tree = LocalTree(uri_of(folder))
            return StoredPackage.read(tree, own_manifest(tree))
        except (StorageError, OSError):
            return None  # as after a crash, or on a broken disk: the store knows it whole

    def _plain(self, uri: str, manifest: TreeManifest, moved: Moved) -> HeldModel:
        """Fetched whole before it is opened."""
        at = self._settings.model_cache_dir / manifest.digest
        release = self._cache.hold(at)
        try:
            if not at.is_dir():
                self._cache.make_room(manifest.size_bytes, keep=at)
            digest = served_digest(uri)
            if digest is not None and self._served is not None:
                folder = cached(self._served, digest, self._settings.model_cache_dir, moved)
            else:
                folder = opening.local_path(uri, self._settings, moved)
        except BaseException:
            release()
            raise
        CACHE_BYTES.set(self._cache.size_bytes)
        return HeldModel(folder, "", release, dict)

    def _in_place(self, tree: StoredTree, folder: Path) -> HeldModel:
        """In a folder of this machine: read there, and not copied."""
        if not (folder / INDEX_FILE).is_file():
            return HeldModel(folder, "", _nothing, dict)
        package = StoredPackage.read(tree, own_manifest(tree))

        def begin(landing: OwnLanding) -> PackageFetch:
            try:
                tier = FileTier(folder, package.index)
            except ReadFailed as error:
                raise Damaged(f"{error}: import the model again") from error
            return PackageFetch(package.where, landing, [tier], None, _nothing)

        return self._held(package, folder, begin, _nothing)

    def _remote(self, spec: ReplicaSpec, package: StoredPackage) -> HeldModel:
        entry = self._cache.open(package.digest, package.index, package.header, package.files)
        CACHE_BYTES.set(self._cache.size_bytes)
        scratch = None if entry is not None else package.write_small_files()
        folder = entry.folder if entry is not None else Path(scratch.name if scratch else "")
        clean = scratch.cleanup if scratch is not None else _nothing
        begun = False

        def begin(landing: OwnLanding) -> PackageFetch:
            nonlocal begun
            fetch = self._begin(spec, package, entry, landing)
            begun = True
            return fetch

        try:
            return self._held(package, folder, begin, clean)
        finally:
            if not begun and entry is not None:
                entry.close()

    def _begin(
        self,
        spec: ReplicaSpec,
        package: StoredPackage,
        entry: CacheEntry | None,
        landing: OwnLanding,
    ) -> PackageFetch:
        index, board = package.index, self._board
        # What may fail comes before anybody is told of it.
        stored = open_tree(spec.model_uri, self._settings, self._served)
        file = stored.open(WEIGHTS_FILE, index.file_bytes)
        tiers: list[Tier] = [] if entry is None else [DiskTier(entry)]
        unshare: Callable[[], None] = _nothing
        told: list[Callable[[int, bool], None]] = []
        if board is not None and spec.weights_key:
            shared = SharedPackage(landing, spec.weights_key)
            ending = board.server.share(shared)
            board.enter(index.root)

            def unshare() -> None:
                board.leave(index.root)
                ending()

            find = partial(board.addresses, index.root)
            peers = PeerTier(index, spec.weights_key, board.server.address, find)
            tiers.append(peers)
            told = [shared.reading_from_store, peers.reading_from_store]

        def reading(chunk: int, begun: bool) -> None:
            for tell in told:
                tell(chunk, begun)

        hedged = HedgedFile(file, HEDGED_READS.inc)
        tiers.append(StoreTier(index, hedged, self._settings.store_streams, reading=reading))
        return PackageFetch(f"{stored.uri}/{WEIGHTS_FILE}", landing, tiers, entry, unshare)

    def _held(
        self,
        package: StoredPackage,
        folder: Path,
        begin: Callable[[OwnLanding], PackageFetch],
        clean: Callable[[], None],
    ) -> HeldModel:
        fetch, there = self._shelf.take(package.index, package.header, begin)

        def release() -> None:
            self._shelf.let_go(fetch)
            clean()

        def bytes_by_tier() -> dict[str, int]:
            return {"memory": package.index.data_bytes} if there else fetch.bytes_by_tier

        def checking_share() -> float:
            return 0.0 if there else fetch.checking_share

        return HeldModel(folder, fetch.landing.path, release, bytes_by_tier, checking_share)


def _nothing() -> None:
    """There is nothing to let go of."""


def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

"""What sequences leave in the KV cache for others (RadixAttention; Zheng et al., 2024).

A tree whose nodes are full blocks. A node's hash covers its whole prefix, so a path is found by its
hashes alone, and nodes need no pointers to one another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Node:
    digest: bytes
    block: int
    references: int = 0
    """Sequences that hold it. Who holds a node holds all above it."""


class PrefixTree:
    """Hands out paths to many sequences at a time, and gives up the least recently used leaf.

    Nodes that nobody holds stand in one line, in the order in which they were let go, those of a
    path from its end. Since whoever holds a node holds all above it, no node stands before one
    below it: the foremost is always a leaf.
    """

    def __init__(self) -> None:
        self._nodes: dict[bytes, Node] = {}
        self._idle: OrderedDict[Node, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    @property
    def idle_blocks(self) -> int:
        """How many times `evict` can be called."""
        return len(self._idle)

    def find(self, digests: Sequence[bytes]) -> list[Node]:
        """The longest path along these hashes."""
        path = []
        for digest in digests:
            node = self._nodes.get(digest)
            if node is None:
                break
            path.append(node)
        return path

    def hold(self, path: Iterable[Node]) -> None:
        for node in path:
            if not node.references:
                del self._idle[node]
            node.references += 1

    def hold_or_add(self, digest: bytes, block: int) -> Node:
        """Hold the node of this hash, which becomes `block` where there is none. Its parent must be
        held by the same sequence."""
        node = self._nodes.get(digest)
        if node is None:
            node = self._nodes[digest] = Node(digest, block, references=1)
        else:
            self.hold((node,))
        return node

    def let_go(self, path: Sequence[Node]) -> None:
        """The opposite of `hold`, of a whole path."""
        for node in reversed(path):
            node.references -= 1
            if not node.references:
                self._idle[node] = None

    def evict(self) -> int:
        """Forget the least recently used leaf that nobody holds; returns its block.

        Raises:
            KeyError: somebody holds every node.
        """
        node, _ = self._idle.popitem(last=False)
        del self._nodes[node.digest]
        return node.block

"""What becomes of the KV cache of a sequence that must give up its blocks (vLLM's two ways).

It is copied to host memory and back, or computed again: whichever is estimated to take less time.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.scheduling.sequence import Sequence


@dataclass(frozen=True, slots=True)
class PreemptionCosts:
    """What the machine was seen to need."""

    block_copy_s: float = 0.0
    """One block between device and host, one way."""
    token_s: float = 0.0
    """One position of a prefill."""


class HostMemory:
    """Slots for blocks in host memory, and the choice who gets them."""

    def __init__(self, slots: int, block_tokens: int) -> None:
        self.costs = PreemptionCosts()
        self._block_tokens = block_tokens
        self._free = list(range(slots - 1, -1, -1))

    @property
    def free_slots(self) -> int:
        return len(self._free)

    def take_in(self, sequence: Sequence) -> tuple[int, ...]:
        """Slots for what the sequence has computed; none where that had better be computed again.

        Blocks that others hold too will be there when it comes back: they are neither copied back
        nor computed again. Its other cached blocks are not counted on, since somebody needs room.
        """
        blocks = -(-sequence.computed_tokens // self._block_tokens)
        if blocks > len(self._free):
            return ()
        lasting = sum(node.references > 1 for node in sequence.shared_path)
        swap_s = (2 * blocks - lasting) * self.costs.block_copy_s
        recompute_s = (sequence.computed_tokens - lasting * self._block_tokens) * self.costs.token_s
        if swap_s >= recompute_s:
            return ()
        return tuple(self._free.pop() for _ in range(blocks))

    def give_back(self, sequence: Sequence) -> None:
        """The slots of a sequence that has come back, or never will."""
        self._free += reversed(sequence.host_slots)
        sequence.host_slots = ()

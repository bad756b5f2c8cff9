"""An arena hands out memory that is nobody else's, within its limit, and keeps it warm."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

import pytest

from worker.loader.arena import UNIT_BYTES, Arena, ArenaFull, Part


def held_bytes(arena: Arena) -> int:
    """What the kernel says that the arena's file occupies."""
    return Path(arena.path).stat().st_blocks * 512


def warm(arena: Arena, size_bytes: int) -> Part:
    part = arena.take(size_bytes)
    arena.fault_in(part, 0, size_bytes)
    return part


def test_parts_do_not_overlap_and_begin_on_units() -> None:
    arena = Arena(8 * UNIT_BYTES)
    parts = [arena.take(UNIT_BYTES + 1) for _ in range(4)]
    for number, part in enumerate(parts):
        part.memory[:] = bytes([number]) * len(part.memory)
    assert all(part.offset % UNIT_BYTES == 0 for part in parts)
    assert [set(part.memory) for part in parts] == [{0}, {1}, {2}, {3}]


def test_only_what_is_faulted_in_has_memory() -> None:
    arena = Arena(4 * UNIT_BYTES)
    part = arena.take(3 * UNIT_BYTES)
    assert held_bytes(arena) == 0 == arena.warm_bytes
    arena.fault_in(part, UNIT_BYTES + 5, 2 * UNIT_BYTES - 5)
    assert held_bytes(arena) == UNIT_BYTES == arena.warm_bytes


@pytest.mark.parametrize("shared", [True, False])
def test_what_is_written_stays_when_its_neighbour_is_faulted_in(shared: bool) -> None:
    arena = Arena(2 * UNIT_BYTES, shared)
    part = arena.take(2 * UNIT_BYTES)
    arena.fault_in(part, 0, 10)
    part.memory[:5] = b"tamer"
    arena.fault_in(part, 5, 2 * UNIT_BYTES)
    assert part.memory[:5] == b"tamer"
    assert ctypes.addressof(ctypes.c_char.from_buffer(part.memory)) % UNIT_BYTES == 0


def test_another_process_finds_the_bytes_at_the_path() -> None:
    arena = Arena(4 * UNIT_BYTES)
    arena.take(1)
    part = arena.take(5)
    part.memory[:] = b"tamer"
    with Path(arena.path).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 5, prot=mmap.PROT_READ, offset=arena.place_of(part))
    assert mapped[:] == b"tamer"


def test_above_the_limit_nothing_is_taken() -> None:
    arena = Arena(4 * UNIT_BYTES)
    arena.take(3 * UNIT_BYTES)
    with pytest.raises(ArenaFull, match="4 MiB of memory for weights are needed, 2 of 8 MiB"):
        arena.take(2 * UNIT_BYTES)
    assert arena.used_bytes == 3 * UNIT_BYTES


def test_what_was_given_back_is_taken_again_without_new_memory() -> None:
    arena = Arena(8 * UNIT_BYTES)
    warm(arena, UNIT_BYTES)
    given = warm(arena, 3 * UNIT_BYTES)
    arena.give(given)
    assert warm(arena, 2 * UNIT_BYTES).offset == given.offset
    assert arena.warm_bytes == held_bytes(arena) == 4 * UNIT_BYTES


def test_warm_memory_that_fits_nobody_makes_room() -> None:
    arena = Arena(4 * UNIT_BYTES)
    first, middle, last = (warm(arena, UNIT_BYTES) for _ in range(3))
    arena.give(first)
    arena.give(last)
    warm(arena, 3 * UNIT_BYTES)
    middle.memory[:1] = b"x"
    assert arena.warm_bytes == held_bytes(arena) == arena.limit_bytes


def test_an_arena_can_be_warmed_before_its_part_is_taken() -> None:
    arena = Arena(4 * UNIT_BYTES)
    arena.warm_up(2 * UNIT_BYTES)
    assert (arena.used_bytes, arena.warm_bytes) == (0, 2 * UNIT_BYTES)
    warm(arena, 2 * UNIT_BYTES)
    assert held_bytes(arena) == 2 * UNIT_BYTES

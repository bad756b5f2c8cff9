"""Hashes of prefixes mean the same everywhere."""

from __future__ import annotations

from infra.prefix import extend_hashes, prefix_hashes


def test_a_hash_covers_everything_before_its_block() -> None:
    first, other = prefix_hashes([1, 2, 3, 4], 2), prefix_hashes([9, 2, 3, 4], 2)
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_a_longer_prompt_begins_with_the_hashes_of_its_beginning() -> None:
    tokens = list(range(11))
    assert prefix_hashes(tokens, 4) == prefix_hashes(tokens[:8], 4)
    assert prefix_hashes(tokens[:4], 4) == prefix_hashes(tokens, 4)[:1]


def test_hashes_of_different_salts_have_nothing_in_common() -> None:
    tokens = list(range(8))
    assert not set(prefix_hashes(tokens, 4, "a")) & set(prefix_hashes(tokens, 4, "b"))


def test_hashes_made_one_by_one_are_the_same() -> None:
    hashes: list[bytes] = []
    for blocks in (1, 2, 2, 5):
        extend_hashes(hashes, list(range(20)), 4, blocks, "salt")
    assert hashes == prefix_hashes(list(range(20)), 4, "salt")


def test_hashes_never_change_since_processes_of_other_versions_compare_them() -> None:
    hashes = [each.hex() for each in prefix_hashes([1, 2, 1 << 31], 1, "tenant")]
    assert hashes == [
        "612ffc3565b744bd0d35ac9691f36bc3",
        "da8a4872ea069db9ec9a281305477c99",
        "9233c4249bcda78c572ff153249d6de1",
    ]

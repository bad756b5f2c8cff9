from __future__ import annotations

import re

from control_plane.store.ids import Prefix, new_id
from control_plane.store.repositories.revisions import revision_id


def test_ids_are_safe_in_keys_and_paths_and_never_repeat() -> None:
    ids = [new_id(prefix) for prefix in Prefix for _ in range(200)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+-[a-z0-9]{24}", each) for each in ids)


def test_ids_made_later_sort_later() -> None:
    first = new_id(Prefix.DECISION)
    stamp = first[: len("dec-") + 10]
    while (later := new_id(Prefix.DECISION))[: len(stamp)] == stamp:
        pass
    assert first < later


def test_revision_ids_depend_on_deployment_and_content_alone() -> None:
    one = revision_id("dep-1", "d1", "torch", {"dtype": "auto", "exact": False})
    assert one == revision_id("dep-1", "d1", "torch", {"exact": False, "dtype": "auto"})
    assert re.fullmatch(r"rev-[0-9a-f]{20}", one)
    others = {
        revision_id("dep-2", "d1", "torch", {"dtype": "auto", "exact": False}),
        revision_id("dep-1", "d2", "torch", {"dtype": "auto", "exact": False}),
        revision_id("dep-1", "d1", "paced", {"dtype": "auto", "exact": False}),
        revision_id("dep-1", "d1", "torch", {"dtype": "auto", "exact": True}),
    }
    assert len(others | {one}) == 5

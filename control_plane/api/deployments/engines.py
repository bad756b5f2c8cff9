"""The engines that are installed, by name; none of them is imported here."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from control_plane.api.strict import nearest

_TEST_WING = "loadtests."


@lru_cache(maxsize=1)
def _engines() -> list[EntryPoint]:
    """The entry-point group `tamer.engines`: what serves first, then the test engines."""
    return sorted(entry_points(group="tamer.engines"), key=lambda each: (_is_test(each), each.name))


def engine_names() -> list[str]:
    return list(dict.fromkeys(each.name for each in _engines()))


def engine_hint(kind: str) -> str:
    """What to say instead of an unknown name: the nearest one, or all of them."""
    names = {
        each.name: f"{each.name} (a test engine)" if _is_test(each) else each.name
        for each in _engines()
    }
    return nearest(kind, list(names), ", ".join(names.values()))


def _is_test(engine: EntryPoint) -> bool:
    return engine.value.startswith(_TEST_WING)

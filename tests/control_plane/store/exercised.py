"""See to it that no function of a module is left out of its tests."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest


@contextmanager
def every_function_of(module: ModuleType) -> Iterator[None]:
    """The block calls each of them."""
    missed = {name for name, _ in functions_of(module)}
    with pytest.MonkeyPatch.context() as patched:
        for name, function in functions_of(module):

            def noted(*args: Any, _name: str = name, _run: Any = function, **kwargs: Any) -> Any:
                missed.discard(_name)
                return _run(*args, **kwargs)

            patched.setattr(module, name, noted)
        yield
    assert not missed, f"no test here calls {sorted(missed)} of {module.__name__}"


def functions_of(module: ModuleType) -> list[tuple[str, Any]]:
    return [
        (name, function)
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    ]

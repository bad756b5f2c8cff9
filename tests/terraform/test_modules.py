"""The modules by themselves: no AWS, not even a stand-in."""

from __future__ import annotations

import pytest

from tests.terraform.working_copy import WorkingCopy

MODULES = ["modules/network", "modules/gpu_workers"]


def test_every_file_is_formatted(copy: WorkingCopy) -> None:
    copy.run(".", "fmt", "-check", "-recursive", "-diff")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_keeps_the_promises_of_its_own_tests(copy: WorkingCopy, module: str) -> None:
    copy.init(module)
    copy.run(module, "validate", "-no-color")
    assert "0 failed" in copy.run(module, "test", "-no-color")

"""Recorded tasks do what the same tasks do one by one, as often as they are repeated."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tests.fixtures.requirements import missing
from worker.kernels.native.toolchain import multiplies

WIDTH = 96


@pytest.fixture(params=[1, 2], ids=["alone", "two_threads"], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    if not multiplies(torch.int8):
        missing("panels", "this machine has no instructions for products of int8")
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


class Block:
    """A norm and two products with a gate between them, four times over."""

    def __init__(self) -> None:
        from worker.kernels.native.panels import PanelWeight

        self.gain = torch.randn(WIDTH).to(torch.bfloat16)
        self.inner = PanelWeight(2 * WIDTH, WIDTH, torch.int8)
        self.inner.fill(0, torch.randn(2 * WIDTH, WIDTH))
        self.outer = PanelWeight(WIDTH, WIDTH, torch.int8)
        self.outer.fill(0, torch.randn(WIDTH, WIDTH))

    def __call__(self, hidden: Tensor) -> Tensor:
        from worker.kernels.rms_norm.cpu import rms_norm
        from worker.kernels.swiglu.cpu import swiglu

        normal, _ = rms_norm(hidden, self.gain, 1e-5)
        gated = swiglu(self.inner.product(normal, None, torch.bfloat16))
        return self.outer.product(gated, None, torch.bfloat16)


@pytest.mark.parametrize("rows", [1, 21])
def test_a_program_follows_the_contents_of_its_inputs(rows: int) -> None:
    from worker.kernels.native.program import Program, Scratch

    blocks = [Block() for _ in range(4)]
    given = torch.randn(rows, WIDTH).to(torch.bfloat16)
    program = Program(Scratch())
    hidden = given
    with program.recording():
        for block in blocks:
            program.begin_layer()
            hidden = block(hidden)
    for _ in range(20):
        given.copy_(torch.randn(rows, WIDTH))
        expected = given
        for block in blocks:
            expected = block(expected)
        program.run()
        assert torch.equal(hidden, expected)


def test_programs_that_share_memory_take_turns() -> None:
    from worker.kernels.native.program import Program, Scratch

    scratch, block = Scratch(), Block()
    made = []
    for rows in (2, 40, 9):
        given, program = torch.randn(rows, WIDTH).to(torch.bfloat16), Program(scratch)
        with program.recording():
            result = block(given)
        made.append((program, given, result))
    for program, given, result in made * 2:
        program.run()
        assert torch.equal(result, block(given))


def test_what_is_not_computed_yet_is_not_copied() -> None:
    from worker.kernels.native.program import Program, Scratch

    apart = torch.randn(WIDTH, 5).to(torch.bfloat16).t()
    with pytest.raises(RuntimeError, match="without gaps"), Program(Scratch()).recording():
        Block()(apart)

"""Steps that belong to nobody are as large and as varied as those of an engine."""

from __future__ import annotations

import pytest
import torch

from worker.engine.sampler import SampledRow
from worker.engine.trial_step import largest_step, trial_rows, varied_steps
from worker.kernels.paged_attention.launch import Launch
from worker.scheduling.scheduler import Limits


def rows(count: int) -> tuple[SampledRow, ...]:
    return trial_rows(count, 97, torch.device("cpu"))


@pytest.mark.parametrize(("running", "step_tokens"), [(3, 11), (8, 8), (1, 40)])
def test_the_largest_step_is_as_large_as_the_limits_allow(running: int, step_tokens: int) -> None:
    layout = largest_step(Limits(running, step_tokens, 10, 4), 10, rows(running))
    assert layout.rows == step_tokens == int(layout.counts.sum())
    assert len(layout.sampled_rows) == len(layout.choices) == running
    assert int(layout.positions.max()) == 39
    assert layout.sampled_rows[-1] == step_tokens - 1


def test_positions_of_a_slice_end_where_its_block_table_does() -> None:
    layout = largest_step(Limits(2, 5, 10, 4), 3, rows(2))
    assert layout.positions.tolist() == [9, 10, 11, 10, 11]
    assert layout.starts.tolist() == [9, 10]


@pytest.mark.parametrize("heads", [(32, 8), (9, 3), (40, 40)])
def test_varied_steps_launch_attention_in_every_way_that_one_sequence_can(
    heads: tuple[int, int],
) -> None:
    limits = Limits(256, 4096, 1000, 16)

    def launch(rows: int, tokens: int) -> tuple[int, int, int]:
        chosen = Launch.choose(rows, 1, heads, 128, tokens, False, 132)
        return chosen.lanes, chosen.tile_tokens, chosen.splits

    compiled = {
        launch(layout.rows, 16 * layout.tables.shape[1])
        for layout in varied_steps(limits, 512, rows(1))
    }
    asked = {
        launch(rows, tokens)
        for rows in range(1, 4097, 37)
        for tokens in range(16 * -(-rows // 16), 8193, 256)
    }
    assert asked <= compiled

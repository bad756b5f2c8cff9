"""The engine takes what the API lets by, and nothing else."""

from __future__ import annotations

import pytest

from infra.engine_options import EngineOptions
from worker.engine.base import EngineError
from worker.engine.options import Options, read_options


def test_every_option_of_the_engine_is_known_to_the_api() -> None:
    assert Options.__struct_fields__ == EngineOptions.__struct_fields__
    assert Options.__struct_defaults__ == EngineOptions.__struct_defaults__


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"max_runing": 1}, "did you mean 'max_running'"),
        ({"qqq": 1}, "there are block_tokens"),
        ({"exact": 1}, "exact: expected bool, got int"),
        ({"gpu_memory_share": 1.5}, "gpu_memory_share: expected float <= 1"),
        ({"kv_cache_dtype": "int4"}, "there are 'auto', 'bfloat16', 'int8', 'fp8'"),
    ],
)
def test_a_wrong_option_is_named_with_what_to_say(values: dict[str, object], says: str) -> None:
    with pytest.raises(EngineError, match=says):
        read_options(values)

"""The options of the torch engine, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra import engine_options
from infra.engine_options import EngineOptions, OptionRefused
from worker.engine.base import EngineError
from worker.scheduling.limits import Limits

DEFAULT_CONTEXT_TOKENS = 4096


class Options(EngineOptions, frozen=True, forbid_unknown_fields=True):
    """Its fields are `EngineOptions`'s: what is asked of this engine, the API has to know."""

    def limits(
        self, blocks: int, block_bytes: int, mixed_prefill_tokens: int | None = None
    ) -> Limits:
        """What the scheduler of such an engine may hand out, with a cache of so many blocks.

        Args:
            mixed_prefill_tokens: where the options name none.
        """
        return Limits(
            self.max_running,
            self.step_token_budget,
            blocks,
            self.block_tokens,
            self.prefix_cache,
            self.swap_bytes // block_bytes,
            self.mixed_prefill_tokens or mixed_prefill_tokens,
        )


def read_options(values: Mapping[str, Any]) -> Options:
    """Check options.

    Raises:
        EngineError: an option is unknown (the nearest known one is named) or has a wrong value.
    """
    try:
        return engine_options.read_options(values, Options)
    except OptionRefused as error:
        raise EngineError(f"engine options: {error}") from error

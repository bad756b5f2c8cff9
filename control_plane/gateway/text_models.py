"""The text side of models as this gateway has them: fetched once by digest, kept while in use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tokenizers import Tokenizer

from control_plane.gateway.detokenizer import Detokenizer, special_token_ids
from control_plane.gateway.token_texts import TokenTexts
from control_plane.gateway.tools.families import family_named
from infra.wire import OfferedTools, TextAssets

_MAX_MODELS = 32


class TextUnavailable(RuntimeError):
    """The text side of the model is not published (yet), or cannot be read."""


class TextModel:
    def __init__(self, assets: TextAssets) -> None:
        self.assets = assets
        self._tokenizer = Tokenizer.from_str(assets.tokenizer_json)
        self._special_ids = special_token_ids(self._tokenizer)
        self._special = {self._tokenizer.id_to_token(each): each for each in self._special_ids}
        self._lengths: dict[int, int] = {}
        self.tokens = TokenTexts(self._tokenizer)

    def detokenizer(
        self, *, special_tokens: bool = False, tools: OfferedTools | None = None
    ) -> Detokenizer:
        """`special_tokens`: whether these become text; with `tools` those that mark calls do."""
        hidden = frozenset[int]() if special_tokens else self._special_ids
        if tools is not None:
            marks = map(self.special_id, family_named(tools.family).shown_tokens)
            hidden -= {each for each in marks if each is not None}
        return Detokenizer(self._tokenizer, hidden, self._lengths)

    def special_id(self, text: str) -> int | None:
        """The id of a special token; None where the text is none."""
        return self._special.get(text)


class TextModels:
    """`fetch` reads assets from Redis (`ProjectionReader.text`)."""

    def __init__(self, fetch: Callable[[str], Awaitable[TextAssets | None]]) -> None:
        self._fetch = fetch
        self._models: dict[str, asyncio.Task[TextModel]] = {}

    async def get(self, digest: str) -> TextModel:
        """Raises TextUnavailable, or what `fetch` raises; a failure is not kept."""
        task = self._models.pop(digest, None)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(self._load(digest))
        self._models[digest] = task
        while len(self._models) > _MAX_MODELS:
            del self._models[next(iter(self._models))]
        return await asyncio.shield(task)

    async def _load(self, digest: str) -> TextModel:
        assets = await self._fetch(digest)
        if assets is None:
            raise TextUnavailable(f"the text side {digest[:12]} of the model is not published yet")
        try:
            return await asyncio.to_thread(TextModel, assets)
        except Exception as error:
            raise TextUnavailable(f"the tokenizer of the model cannot be read: {error}") from error

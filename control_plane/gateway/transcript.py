"""The tokens of a sequence as its client sees them: text, and log-probabilities beside it (no I/O).

A token's log-probability is shown with the first character of its text, so what a stop string cuts
off is cut off of both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence as Seq

from control_plane.gateway.display import Display, Piece
from control_plane.gateway.stop_strings import StopStrings
from control_plane.gateway.text_models import TextModel
from infra.wire import ShownLogprob, TokenLogprob

PromptLogprob = dict[str, dict[str, float | int | str | None]]


class Transcript:
    def __init__(self, text: TextModel, display: Display) -> None:
        self._text = text
        self._display = display
        self._detokenizer = text.detokenizer(
            special_tokens=display.special_tokens, tools=display.tools
        )
        self._stops = StopStrings(display.stops, include=display.include_stop)
        self._piece = Piece()
        self._read_chars = 0
        """Of the answer, as far as tokens were read."""
        self._shown_chars = 0
        self._held: deque[ShownLogprob] = deque()

    @property
    def stopped(self) -> bool:
        """Whether a stop string was met."""
        return self._stops.stopped

    def echo(self, prompt: Seq[int], logprobs: Seq[TokenLogprob | None]) -> None:
        """Show the prompt; before everything else."""
        detokenizer = self._text.detokenizer(special_tokens=self._display.special_tokens)
        text = ""
        for place, token in enumerate(prompt):
            if self._display.logprobs and place < len(logprobs):
                self._piece.logprobs.append(self._shown(token, logprobs[place], len(text)))
            text += detokenizer.push(token)
        text += detokenizer.flush()
        self._piece.text += text
        self._read_chars = self._shown_chars = len(text)

    def push(self, token: int, logprob: TokenLogprob | None, *, may_stop: bool = True) -> None:
        """Take a token of the output; with `may_stop` its text may complete a stop string."""
        if self._display.logprobs and logprob is not None:
            self._held.append(self._shown(token, logprob, self._read_chars))
        text = self._detokenizer.push(token)
        self._read_chars += len(text)
        self._show(self._stops.push(text) if may_stop else text)

    def finish(self) -> None:
        """No more tokens come: show what was held back, unless it holds a stop string."""
        text = self._detokenizer.flush()
        self._read_chars += len(text)
        self._show(self._stops.push(text))
        if not self.stopped:
            self._show(self._stops.flush())

    def drain(self) -> Piece:
        """What came since the last call."""
        piece, self._piece = self._piece, Piece()
        return piece

    def prompt_logprobs(
        self, prompt: Seq[int], logprobs: Seq[TokenLogprob | None]
    ) -> list[PromptLogprob | None]:
        """Those of a prompt by token id, as vLLM shows them."""
        pairs = zip(prompt, logprobs, strict=True)
        return [None if each is None else self._by_id(token, each) for token, each in pairs]

    def _show(self, text: str) -> None:
        self._piece.text += text
        self._shown_chars += len(text)
        all_shown = self._shown_chars == self._read_chars and not self.stopped
        while self._held and (all_shown or self._held[0].offset < self._shown_chars):
            self._piece.logprobs.append(self._held.popleft())

    def _shown(self, token: int, told: TokenLogprob | None, offset: int) -> ShownLogprob:
        text, raw = self._text.tokens[token]
        if told is None:
            return ShownLogprob(text, raw, None, [], offset)
        top = [(*self._text.tokens[each], logprob) for each, logprob in told.top]
        return ShownLogprob(text, raw, told.logprob, top, offset)

    def _by_id(self, token: int, told: TokenLogprob) -> PromptLogprob:
        ranked = {each: (logprob, rank) for rank, (each, logprob) in enumerate(told.top, start=1)}
        entries: dict[int, tuple[float, int | None]] = {
            token: (told.logprob, told.rank or None),
            **ranked,
        }
        return {
            str(each): {
                "logprob": logprob,
                "rank": rank,
                "decoded_token": self._text.tokens[each][0],
            }
            for each, (logprob, rank) in entries.items()
        }

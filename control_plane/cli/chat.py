"""`tamer chat`: ask a deployment, once or in a conversation."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from control_plane.cli.answer import Answer, ask
from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.options import AsJson
from control_plane.cli.screen import Screen
from infra.settings import Settings


def chat(
    name: Annotated[str, typer.Argument(help="A deployment.")],
    message: Annotated[
        str | None, typer.Argument(help="The question; '-' reads it from stdin.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Length of an answer at most.")] = 512,
    temperature: Annotated[
        float, typer.Option(min=0.0, max=2.0, help="0: the likeliest words; 1: as they come.")
    ] = 0.0,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask NAME the MESSAGE and stream its answer; without MESSAGE hold a conversation."""
    options: Json = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
    options = {key: value for key, value in options.items() if value is not None}
    messages: list[Json] = [{"role": "system", "content": system}] if system else []
    talk = _Conversation(Screen(as_json), name, messages, options)
    if message == "-" or (message is None and not sys.stdin.isatty()):
        message = sys.stdin.read().strip()
    if message is not None and not message.strip():
        raise CommandError(
            f"nothing to ask: type tamer chat {name} 'your question'", ExitCode.USAGE
        )
    if message is None and as_json:
        raise CommandError("--json needs a MESSAGE", ExitCode.USAGE)
    if message is None:
        talk.hold()
    else:
        asyncio.run(talk.ask_once(message))


class _Conversation:
    """The messages so far, with one model."""

    def __init__(self, screen: Screen, model: str, messages: list[Json], options: Json) -> None:
        self._screen = screen
        self._model = model
        self._messages = messages
        self._options = options

    async def ask_once(self, message: str) -> None:
        async with ApiClient.of(Settings()) as client:
            answer = await self._exchange(client, message)
        if self._screen.as_json:
            self._screen.json(
                {
                    "model": self._model,
                    "content": answer.text,
                    "finish_reason": answer.finish_reason,
                    "usage": answer.usage,
                    "first_token_s": answer.first_token_s,
                    "total_s": answer.total_s,
                }
            )

    def hold(self) -> None:
        """Ask on until an empty line, Ctrl-D or Ctrl-C; Ctrl-C in an answer ends only that answer.

        Lines are read outside of the event loop: it could not be interrupted while it waits.
        """
        self._screen.note(f"talking to {self._model}; an empty line or Ctrl-D ends")
        while True:
            try:
                message = input("> ").strip()
            except EOFError:
                self._screen.note("")
                return
            if not message:
                return
            before = len(self._messages)
            try:
                asyncio.run(self.ask_once(message))
            except KeyboardInterrupt:
                del self._messages[before:]
                self._screen.note("\n(stopped)")

    async def _exchange(self, client: ApiClient, message: str) -> Answer:
        """Add a question and its answer to the conversation."""
        self._messages.append({"role": "user", "content": message})
        answer = Answer()
        note = self._screen.note
        pieces = ask(client, self._model, self._messages, self._options, answer, note)
        try:
            async for piece in pieces:
                if not self._screen.as_json:
                    self._screen.stream(piece)
        except CommandError:
            self._screen.end_line()
            raise
        if not self._screen.as_json:
            self._screen.stream("\n")
            self._screen.note(answer.figures)
        self._messages.append({"role": "assistant", "content": answer.text})
        return answer

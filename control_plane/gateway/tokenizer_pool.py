"""A pool of tokenizer processes; one that takes too long is killed and replaced."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import msgspec

from control_plane.gateway.tokenizer_messages import (
    LENGTH_BYTES,
    Checked,
    CheckGrammars,
    EncodeChat,
    Encoded,
    EncodeTexts,
    FromTokenizer,
    Load,
    Prompt,
    Unacceptable,
    frame,
    remember,
)
from infra.process import end_with_parent
from infra.settings import without_secrets
from infra.telemetry import logger
from infra.wire import TextAssets

_log = logger(__name__)
_READ_AHEAD_BYTES = 1 << 20
_START_LIMIT_S = 30.0

Request = EncodeChat | EncodeTexts | CheckGrammars


class TokenizerError(RuntimeError):
    """A prompt was not tokenised; the text says why."""


class PromptUnacceptable(TokenizerError):
    """The prompt, or the model's template, is at fault."""


class TokenizerTimeout(TokenizerError):
    """It took longer than the limit; its process was killed."""


class TokenizerBusy(TokenizerError):
    """No process was free, or it died; trying again may help."""


class TokenizerDied(TokenizerBusy):
    """Its process ended."""


class _Member:
    """One process and what it has loaded."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._loaded: dict[str, None] = {}

    @classmethod
    async def start(cls) -> _Member:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "control_plane.gateway.tokenizer_process",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_READ_AHEAD_BYTES,
            env=without_secrets(os.environ),
            preexec_fn=end_with_parent(),
            start_new_session=True,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, request: Request, assets: TextAssets) -> FromTokenizer:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        self._load(stdin, request.digest, assets)
        stdin.write(frame(request))
        await stdin.drain()
        header = await stdout.readexactly(LENGTH_BYTES)
        body = await stdout.readexactly(int.from_bytes(header, "little"))
        reply: FromTokenizer = msgspec.msgpack.decode(body, type=FromTokenizer)
        return reply

    def _load(self, stdin: asyncio.StreamWriter, digest: str, assets: TextAssets) -> None:
        if digest not in self._loaded:
            stdin.write(frame(Load(digest, assets)))
            remember(self._loaded, digest, None)

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


class TokenizerPool:
    """`size` processes; each request has `limit_s` from the moment a process takes it."""

    def __init__(self, size: int, limit_s: float) -> None:
        self._size = size
        self._limit_s = limit_s
        self._free: asyncio.Queue[_Member] = asyncio.Queue()
        self._members: set[_Member] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        await asyncio.gather(*(self._add_member() for _ in range(self._size)))

    async def close(self) -> None:
        self._closed = True
        for task in list(self._replacing):
            task.cancel()
        await asyncio.gather(*self._replacing, return_exceptions=True)
        await asyncio.gather(*(member.kill() for member in self._members))
        self._members.clear()

    @property
    def pids(self) -> list[int]:
        return sorted(member.pid for member in self._members)

    @property
    def busy(self) -> int:
        """Processes that are not free."""
        return len(self._members) - self._free.qsize()

    async def encode(self, request: EncodeChat | EncodeTexts, assets: TextAssets) -> list[Prompt]:
        """The prompts of a request as token ids.

        Raises:
            PromptUnacceptable, TokenizerTimeout, TokenizerBusy
        """
        reply = await self._ask(request, assets)
        if isinstance(reply, Unacceptable):
            raise PromptUnacceptable(reply.reason)
        assert isinstance(reply, Encoded)
        return reply.prompts

    async def check(self, request: CheckGrammars, assets: TextAssets) -> list[str]:
        """Why each grammar is refused; empty where it is not.

        Raises:
            TokenizerTimeout, TokenizerDied, TokenizerBusy
        """
        reply = await self._ask(request, assets)
        assert isinstance(reply, Checked)
        return reply.refusals

    async def _ask(self, request: Request, assets: TextAssets) -> FromTokenizer:
        member = await self._take()
        task = asyncio.create_task(self._ask_member(member, request, assets))
        task.add_done_callback(_retrieved)
        # A client that goes away does not cost us the process: it finishes and is free again.
        return await asyncio.shield(task)

    async def _ask_member(
        self, member: _Member, request: Request, assets: TextAssets
    ) -> FromTokenizer:
        try:
            async with asyncio.timeout(self._limit_s):
                reply = await member.ask(request, assets)
        except TimeoutError:
            self._replace(member)
            raise TokenizerTimeout(
                f"rendering and tokenising the prompt took longer than {self._limit_s:g} s; "
                "send a shorter one"
            ) from None
        except (asyncio.IncompleteReadError, OSError, msgspec.DecodeError) as error:
            self._replace(member)
            raise TokenizerDied("the tokenizer process ended; try again") from error
        self._free.put_nowait(member)
        return reply

    async def _take(self) -> _Member:
        try:
            async with asyncio.timeout(self._limit_s + _START_LIMIT_S):
                return await self._free.get()
        except TimeoutError:
            raise TokenizerBusy("all tokenizer processes are busy; try again") from None

    def _replace(self, member: _Member) -> None:
        async def replace() -> None:
            await member.kill()
            self._members.discard(member)
            while not self._closed:
                try:
                    await self._add_member()
                    break
                except OSError as error:
                    _log.warning("tokenizer process cannot be started", error=str(error))
                    await asyncio.sleep(1.0)

        task = asyncio.create_task(replace())
        self._replacing.add(task)
        task.add_done_callback(self._replacing.discard)

    async def _add_member(self) -> None:
        member = await _Member.start()
        self._members.add(member)
        self._free.put_nowait(member)


def _retrieved(task: asyncio.Task[FromTokenizer]) -> None:
    """Nobody may be left to hear of a failure."""
    if not task.cancelled():
        task.exception()

"""Servers that start from nothing when the request is there: what a client of theirs waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.benchmarks.arms.cores import THREADS
from loadtests.benchmarks.arms.environment import environment, python_of
from loadtests.benchmarks.cold_start.first_token import Endpoint, NoToken, first_token_s
from loadtests.benchmarks.engine import weights
from loadtests.benchmarks.engine.peers import PEERS
from loadtests.benchmarks.home import free_port

_LIMIT_S = 300.0
_END_LIMIT_S = 30.0
_NAME = "smol"
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Server:
    """How a peer is started, and what it reads."""

    command: Callable[[int], Sequence[str]]
    """By port."""
    files: Sequence[Path]
    variables: Mapping[str, str] = field(default_factory=dict)

    def start(self, log: Path) -> float:
        """Seconds from its start to the first token.

        Raises:
            NoToken: it gave none; the message has its last words.
        """
        port = free_port()
        endpoint = Endpoint(f"http://127.0.0.1:{port}", _NAME)
        with log.open("wb") as output:
            began_s = time.monotonic()
            process = subprocess.Popen(
                list(self.command(port)),
                env={**os.environ, **self.variables},
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            return first_token_s(endpoint, began_s, _LIMIT_S, lambda: process.poll() is None)
        except NoToken as error:
            words = log.read_text(errors="replace").strip().splitlines()
            raise NoToken(f"{error}: {words[-1] if words else 'without a word'}") from error
        finally:
            _end(process)


def vllm(cache: Path, model: Path) -> Server:
    """`vllm serve`, whose own command fails on this build: its module is the same program.

    Raises:
        NotInstalled: it cannot be had here.
    """
    peer = PEERS["vllm"]
    folder = environment(cache, "vllm", peer.requirements, removed=peer.removed)
    python = str(python_of(folder))
    variables = {**peer.variables, "XDG_CACHE_HOME": str(folder / "cache")}

    def command(port: int) -> list[str]:
        return [
            *(python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)),
            *("--served-model-name", _NAME, "--dtype", "bfloat16", "--max-model-len", "1024"),
            *("--enforce-eager", "--host", "127.0.0.1", "--port", str(port)),
        ]

    return Server(command, sorted(model.glob("*.safetensors")), variables)


def llama_cpp(cache: Path, model: Path) -> Server:
    """Its server over the same weights in Q8_0.

    Raises:
        NotInstalled: it cannot be had here.
    """
    peer = PEERS["llama_cpp"]
    folder = environment(cache, "llama_cpp", peer.requirements)
    python, file = str(python_of(folder)), weights.q8_0(cache, model)
    program = str(_HERE / "llama_cpp_server.py")
    return Server(lambda port: [python, program, str(file), str(port), str(THREADS)], [file])


SERVERS: Mapping[str, Callable[[Path, Path], Server]] = {
    "vllm_cpu": vllm,
    "llama_cpp": llama_cpp,
}


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(_END_LIMIT_S if number == signal.SIGTERM else None)
        except ProcessLookupError:
            process.wait()
            return
        except subprocess.TimeoutExpired:
            continue

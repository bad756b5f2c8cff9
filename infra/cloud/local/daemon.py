"""The host daemon owns the instances of this machine; when it ends, however it ends, they do."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvicorn

from infra.cloud.local.app import build_app
from infra.cloud.local.host import Host
from infra.metrics.port import start_metrics
from infra.private_folder import make_private
from infra.process_settings import process_settings
from infra.settings import Settings
from infra.telemetry import configure_logging

_INHERITED = frozenset(
    {
        *("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"),
        *("PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("CUDA_VISIBLE_DEVICES", "CUDA_HOME", "OMP_NUM_THREADS", "OMP_WAIT_POLICY"),
        *("XDG_CACHE_HOME", "TAMER_CACHE_DIR"),
        *("TAMER_HOME", "TAMER_LOG_LEVEL", "TAMER_TORCH_THREADS", "TAMER_DRAIN_LIMIT_S"),
        "TAMER_STANDBY",
        *("TAMER_METRICS_PORT", "TAMER_METRICS_HOST", "TAMER_TRACE_FILE"),
        *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
        *("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_BSP_SCHEDULE_DELAY"),
    }
)
"""What an instance gets of the daemon's own environment: nothing secret."""
_SHUTDOWN_LIMIT_S = 5.0
_KILL_MARGIN_S = 5.0


class SocketInUse(RuntimeError):
    """Another daemon answers on this socket."""


def listen(path: Path) -> socket.socket:
    """A listening Unix socket that only this user may open; a stale one is replaced.

    Raises:
        SocketInUse: somebody listens there.
        OSError: the path cannot be bound.
    """
    make_private(path.parent)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
        else:
            raise SocketInUse(f"a host daemon already listens on {path}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(previous)
    listener.listen(128)
    return listener


def instance_environment(inherited: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """What every instance finds in its environment, before its own user data."""
    kept = {name: value for name, value in inherited.items() if name in _INHERITED}
    return {"PYTHONUNBUFFERED": "1", **kept, **settings.agent_env}


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. `-- COMMAND...` runs another program than the agent."""
    parser = argparse.ArgumentParser(prog="python -m infra.cloud.local", description=__doc__)
    parser.add_argument("--shutdown-limit-s", type=float, default=_SHUTDOWN_LIMIT_S)
    parser.add_argument("--stop-limit-s", type=float, default=None)
    parser.add_argument("command", nargs="*", default=[sys.executable, "-m", "worker.agent"])
    options = parser.parse_args(arguments)
    settings = process_settings()
    configure_logging("cloud", settings.log_level)
    path = settings.cloud_socket
    try:
        listener = listen(path)
    except (SocketInUse, OSError) as error:
        print(f"host daemon: {error}", file=sys.stderr)  # noqa: T201 - its last words
        return 1
    host = Host(
        options.command,
        instance_environment(os.environ, settings),
        settings.logs_dir / "instances",
        options.stop_limit_s or settings.drain_limit_s + _KILL_MARGIN_S,
    )
    start_metrics(settings, "cloud")
    app = build_app(host, options.shutdown_limit_s, lambda: path.unlink(missing_ok=True))
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listener])
    return 0

"""`python -m control_plane.tasks`: a Celery worker as Tamer needs it, until SIGTERM."""

from __future__ import annotations

from control_plane.tasks.app import app
from infra.metrics.port import start_metrics
from infra.process_settings import process_settings

_OPTIONS = ("--pool", "threads", "--concurrency", "4")
_ALONE = ("--without-gossip", "--without-mingle", "--without-heartbeat")
"""Workers need to know nothing of each other."""

if __name__ == "__main__":
    start_metrics(process_settings(), "tasks")
    app.worker_main(["--quiet", "worker", *_OPTIONS, *_ALONE, "--loglevel", "warning"])

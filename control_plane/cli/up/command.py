"""`tamer up`: start everything, show that it works, stay until stopped, leave nothing behind."""

from __future__ import annotations

import asyncio
import shutil
from typing import Annotated

import typer

from control_plane.cli.exits import CommandError
from control_plane.cli.screen import Screen
from control_plane.cli.up.home_lock import HomeLock, refuse_second
from infra.settings import Settings


def up(
    first_model: Annotated[
        bool, typer.Option(help="Import and deploy smollm2, and ask it a question.")
    ] = True,
) -> None:
    """Run the whole platform on this machine, in the foreground, until Ctrl-C.

    State is in TAMER_HOME (~/.tamer), the port is TAMER_PORT (8000), TAMER_ADMIN_KEY sets the
    first key. A second Ctrl-C stops at once.
    """
    from control_plane.cli.up import preflight  # here: no other command needs what these import
    from control_plane.cli.up.life import Life

    settings = Settings()
    screen = Screen()
    refuse_second(settings)
    preflight.check_python()
    port = preflight.choose_port(settings)
    preflight.check_embedded_port(settings)
    preflight.prepare_home(settings)
    if settings.database_url:  # the file in the home has been looked after by prepare_home
        preflight.check_store()
    try:
        with HomeLock(settings):
            try:
                asyncio.run(Life(settings, screen, port, first_model).run())
            finally:
                _remove_run_dir(settings)
    except OSError as error:
        raise CommandError(preflight.unusable(settings.home, error)) from error


def _remove_run_dir(settings: Settings) -> None:
    """Sockets of programs that were killed stay behind otherwise."""
    shutil.rmtree(settings.run_dir, ignore_errors=True)

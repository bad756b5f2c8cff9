"""How weights are to be kept: the options of `tamer models import` and `tamer models pack`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from control_plane.cli.api_client import ApiClient, Json
from control_plane.cli.importing import made
from control_plane.cli.screen import Screen
from infra.settings import Settings


class Quantization(StrEnum):
    NONE = "none"
    INT8 = "int8"


class Dtype(StrEnum):
    BFLOAT16 = "bfloat16"
    BF16 = "bf16"
    FLOAT16 = "float16"
    FP16 = "fp16"
    FLOAT32 = "float32"
    FP32 = "fp32"


QuantizationOption = Annotated[
    Quantization | None,
    typer.Option("--quantization", help="Of the matrices of products; as the source if left out."),
]
DtypeOption = Annotated[
    Dtype | None,
    typer.Option("--dtype", help="Of all that is not quantised; as the source if left out."),
]
SlicesOption = Annotated[
    int | None,
    typer.Option(
        "--slices", min=1, help="Cut for tensor parallelism of any size that divides this."
    ),
]


def packing_of(quantization: Quantization | None, dtype: Dtype | None, slices: int | None) -> Json:
    """As the API takes it: what was left out is not in it."""
    given = {"quantization": quantization, "dtype": dtype, "slices": slices}
    return {name: value for name, value in given.items() if value is not None}


async def pack(screen: Screen, name: str, new_name: str, packing: Json, wait: bool) -> None:
    body = {**packing, **({"name": new_name} if new_name else {})}
    final = new_name or name
    async with ApiClient.of(Settings()) as client:
        begun = await client.post(f"/models/{name}/packages", body)
        model = await made(client, screen, final, begun) if wait else begun["model"]
    if screen.as_json:
        screen.json(model)
        return
    screen.line(f"{model['name']}: {model['state']}")
    if not wait:
        screen.note(f"'tamer models show {model['name']}' tells how far it is")
    elif final == name:
        screen.note("deployments take it up with their next 'tamer deploy'")


def kept(model: Json) -> str:
    """How a model's weights are kept, in a word or two."""
    if model["state"] != "ready":
        return ""
    if not model["weights_root"]:
        return "no: 'tamer models pack'"
    return "yes"


def precision(model: Json) -> str:
    """E.g. "int8", or "bfloat16" where that was asked for; empty: as its source has it."""
    dtype = str((model.get("packing") or {}).get("dtype", ""))
    quantization = model["quantization"] if model["quantization"] != "none" else ""
    return ", ".join(each for each in (quantization, dtype) if each)

"""`tamer models pack`, and what `tamer models` says of packages."""

from __future__ import annotations

from typing import Any

import pytest

from tests.control_plane.cli.stub_answers import Tamer, page
from tests.control_plane.cli.stub_server import StubServer

_ENDED = {"id": "op-1", "state": "succeeded", "error": "", "progress": {"phase": "store"}}


def _model(name: str, **values: Any) -> dict[str, Any]:
    defaults = {"state": "ready", "error": "", "weights_root": "ab", "quantization": "none"}
    shown = {"architecture": "L", "parameters": 0, "size_bytes": 0, "source": "pypi:x"}
    return {"name": name, **defaults, **shown, **values}


@pytest.mark.parametrize(("options", "final"), [([], "tiny"), (["--as", "small"], "small")])
def test_a_pack_is_followed_to_its_end(
    tamer: Tamer, stub_server: StubServer, options: list[str], final: str
) -> None:
    begun = {"model": _model("tiny.packing", state="importing"), "operation": _ENDED}
    stub_server.on("POST", "/models/tiny/packages", (202, begun))
    stub_server.on("GET", "/operations/op-1", (200, _ENDED))
    stub_server.on("GET", f"/models/{final}", (200, _model(final)))
    code, out, err = tamer(
        "models", "pack", "tiny", *options, "--quantization", "int8", "--slices", "2"
    )
    assert (code, out) == (0, f"{final}: ready\n")
    assert ("tamer deploy" in err) == (final == "tiny")
    sent = {"quantization": "int8", "slices": 2} | ({"name": "small"} if options else {})
    assert stub_server.requests[0][3] == sent


def test_an_import_passes_on_how_weights_are_kept(tamer: Tamer, stub_server: StubServer) -> None:
    model = _model("x", state="importing")
    stub_server.on("POST", "/models", (202, {"model": model, "operation": None}))
    tamer("models", "import", "pypi:x", "--dtype", "bfloat16", "--no-wait")
    assert stub_server.requests[0][3] == {"name": "x", "source": "pypi:x", "dtype": "bfloat16"}


def test_models_tell_which_are_packages(tamer: Tamer, stub_server: StubServer) -> None:
    listed = [
        _model("old", weights_root="", quantization=""),
        _model("new"),
        _model("small", quantization="int8"),
        _model("coming", state="importing", weights_root="", quantization=""),
    ]
    stub_server.on("GET", "/models", page(*listed))
    code, out, _ = tamer("models", "list")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "PACKAGE" in lines["NAME"]
    assert "tamer models pack" in lines["old"]
    assert "yes" in lines["new"] and "int8" in lines["small"]
    assert "pack" not in lines["coming"]

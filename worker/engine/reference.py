"""`docs/engine.md`: every option of the torch engine, read from the code."""

from __future__ import annotations

import ast
import inspect
import sys
from itertools import pairwise

import msgspec

from infra.engine_options import EngineOptions

_INTRODUCTION = """\
# Options of the torch engine

Written by `make docs` from the code. `dtype`, `quantization`, `max_context_tokens` and `exact` are
fields of a deployment's `engine` (which takes `bf16` and `fp32`, too); the others stand in its
`options`. Where the model is a package of int8 weights (`tamer models pack NAME --quantization
int8`), `quantization` must be `auto` or `int8`. The API checks all of them:

```yaml
name: chat
model: smollm2
engine:
  quantization: int8
  options: {max_running: 64, kv_cache_dtype: int8}
```

| option | default | what it does |
|---|---|---|
"""


def document() -> str:
    said = _said()
    defaults = {field.name: field.default for field in msgspec.structs.fields(EngineOptions)}
    rows = [
        f"| `{name}` | {_shown(default)} | {said.get(name, '')} |\n"
        for name, default in defaults.items()
    ]
    return _INTRODUCTION + "".join(rows)


def _said() -> dict[str, str]:
    """The text below each field, which Python itself forgets."""
    [defined] = ast.parse(inspect.getsource(EngineOptions)).body
    assert isinstance(defined, ast.ClassDef)
    said = {}
    for field, text in pairwise(defined.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            value = ast.literal_eval(text.value)
            said[ast.unparse(field.target)] = f"{_values(field)}{' '.join(value.split())}"
    return said


def _values(field: ast.AnnAssign) -> str:
    """What a choice may be."""
    kind = ast.unparse(field.annotation)
    if not kind.startswith("Literal["):
        return ""
    choices = ast.literal_eval(kind.removeprefix("Literal"))
    return ", ".join(f"`{choice}`" for choice in choices) + ". "


def _shown(default: object) -> str:
    match default:
        case None:
            return "`null`"
        case bool():
            return f"`{str(default).lower()}`"
    return f"`{default}`"


if __name__ == "__main__":
    sys.stdout.write(document())

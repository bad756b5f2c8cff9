"""Chat templates, rendered as transformers renders them, in a sandbox: they come with a model."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import jinja2
import jinja2.ext
from jinja2.meta import find_undeclared_variables
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

Objects = Sequence[Mapping[str, Any]]

RESERVED = frozenset({"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"})
"""What a template is always given; whatever else it reads is an argument."""
_NONE: Mapping[str, Any] = {}


class Render(Protocol):
    """Messages, and the functions that the model is told of, as the text of a prompt."""

    def __call__(
        self,
        messages: Objects,
        bos_token: str,
        eos_token: str,
        tools: Objects = (),
        arguments: Mapping[str, Any] = _NONE,
    ) -> str: ...


class TemplateRefused(ValueError):
    """The template does not accept these messages; the text is the template's own."""


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what an assistant said, for training; here it marks nothing."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


def compile_template(source: str) -> Render:
    """Both this function and the one it returns raise:
    TemplateRefused: the template is broken or does not take these messages.
    """
    try:
        environment = _environment()
        template = environment.from_string(source)
        read = find_undeclared_variables(environment.parse(source)) - environment.globals.keys()
    except (jinja2.TemplateError, RecursionError) as error:
        raise TemplateRefused(f"the model's chat template is broken: {error}") from error

    def render(
        messages: Objects,
        bos_token: str,
        eos_token: str,
        tools: Objects = (),
        arguments: Mapping[str, Any] = _NONE,
    ) -> str:
        _require_read(arguments, read - RESERVED)
        try:
            return template.render(
                messages=messages,
                tools=tools or None,
                add_generation_prompt=True,
                bos_token=bos_token,
                eos_token=eos_token,
                **{"documents": None, **arguments},
            )
        except jinja2.TemplateError as error:
            raise TemplateRefused(str(error)) from error
        except Exception as error:
            raise TemplateRefused(f"{type(error).__name__}: {error}") from error

    return render


def _require_read(arguments: Mapping[str, Any], read: Collection[str]) -> None:
    for name in arguments:
        if name not in read:
            known = f"it reads {', '.join(sorted(read))}" if read else "it reads no arguments"
            raise TemplateRefused(f"the model's chat template does not read '{name}': {known}")


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_Generation, jinja2.ext.loopcontrols],
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(layout: str) -> str:
    return datetime.now().strftime(layout)

"""Chat templates, rendered as transformers renders them, in a sandbox: they come with a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import jinja2
import jinja2.ext
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

Objects = Sequence[Mapping[str, Any]]


class Render(Protocol):
    """Messages, and the functions that the model is told of, as the text of a prompt."""

    def __call__(
        self, messages: Objects, bos_token: str, eos_token: str, tools: Objects = ()
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
        template = _environment().from_string(source)
    except (jinja2.TemplateError, RecursionError) as error:
        raise TemplateRefused(f"the model's chat template is broken: {error}") from error

    def render(messages: Objects, bos_token: str, eos_token: str, tools: Objects = ()) -> str:
        try:
            return template.render(
                messages=messages,
                tools=tools or None,
                documents=None,
                add_generation_prompt=True,
                bos_token=bos_token,
                eos_token=eos_token,
            )
        except jinja2.TemplateError as error:
            raise TemplateRefused(str(error)) from error
        except Exception as error:
            raise TemplateRefused(f"{type(error).__name__}: {error}") from error

    return render


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

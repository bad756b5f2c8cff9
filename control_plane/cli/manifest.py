"""Deployment files: YAML whose errors name the line."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from control_plane.cli.api_client import Json, ServerError
from control_plane.cli.exits import CommandError, ExitCode
from infra.names import NAME_PATTERN, NAME_RULE

_LIMIT_BYTES = 1 << 20
_REQUIRED = {"name": "chat", "model": "smollm2"}
"""The fields without a default, and what one may say."""


class ManifestError(CommandError):
    """The file says something that is no deployment; the message begins with file and line."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ExitCode.USAGE)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One document of a file."""

    file: str
    spec: Json
    line: int
    lines: dict[str, int] = field(default_factory=dict)
    """Line of each field: "scaling.min_replicas" -> 7."""

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    def where(self, path: str) -> str:
        """ "chat.yaml:7" for a field, or for the nearest field around it that the file has."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return f"{self.file}:{self.lines.get(path, self.line)}"


def read_manifests(file: str) -> list[Manifest]:
    """The deployments of a file ("-": of stdin).

    Raises:
        ManifestError: it cannot be read, is no YAML, or a document has no fit name or no model.
    """
    text = _text(file)
    shown = "stdin" if file == "-" else file
    try:
        _refuse_aliases(shown, text)
        documents = [node for node in yaml.compose_all(text, Loader=yaml.SafeLoader) if node]
        found = [_manifest(shown, node) for node in documents]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ManifestError(f"{shown}:{line}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ManifestError(f"{shown}: not YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise ManifestError(f"{shown}: nested too deeply") from error
    if not found:
        raise ManifestError(f"{shown}: empty; it needs at least 'name:' and 'model:'")
    return found


def located(error: ServerError, manifest: Manifest) -> CommandError:
    """The refusal with the lines that it is about."""
    if not error.fields:
        return CommandError(f"{manifest.where('')}: {error}", error.code)
    said = (
        f"{manifest.where(path)}: {path + ': ' if path else ''}{message}"
        for path, message in error.fields.items()
    )
    return CommandError("; ".join(said), error.code)


def _text(file: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise ManifestError(f"cannot read {file}: {error.strerror}") from error
    if len(raw) > _LIMIT_BYTES:
        raise ManifestError(f"{file} is larger than {_LIMIT_BYTES >> 20} MiB: not a deployment")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ManifestError(f"{file}:{line}: not UTF-8 text") from error


def _manifest(file: str, node: yaml.Node) -> Manifest:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise ManifestError(f"{file}:{line}: a deployment is 'field: value' lines")
    lines: dict[str, int] = {}
    _index(file, node, "", lines)
    spec = _Values().construct_document(node)
    try:
        json.dumps(spec, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ManifestError(f"{file}:{line}: a value that JSON does not have: {error}") from error
    for required, example in _REQUIRED.items():
        if spec.get(required) in (None, ""):
            where = f"{file}:{lines.get(required, line)}"
            raise ManifestError(f"{where}: '{required}' is missing: say '{required}: {example}'")
        if not isinstance(spec[required], str):
            where = f"{file}:{lines[required]}"
            raise ManifestError(f"{where}: '{required}' must be a text: put it in quotes")
    if not re.fullmatch(NAME_PATTERN, spec["name"]):
        raise ManifestError(f"{file}:{lines['name']}: 'name' {NAME_RULE}")
    return Manifest(file, spec, line, lines)


def _index(file: str, node: yaml.Node, path: str, lines: dict[str, int]) -> None:
    """Note the line of every field, and refuse a field that is written twice."""
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            lines[f"{path}.{number}"] = item.start_mark.line + 1
            _index(file, item, f"{path}.{number}", lines)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        here = f"{path}.{key.value}".removeprefix(".")
        line = key.start_mark.line + 1
        if here in lines:
            raise ManifestError(f"{file}:{line}: '{here}' is already set in line {lines[here]}")
        lines[here] = line
        _index(file, value, here, lines)


def _refuse_aliases(file: str, text: str) -> None:
    """A few lines of aliases can stand for gigabytes."""
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise ManifestError(f"{file}:{line}: aliases (*name) are not taken: repeat the value")


class _Values(yaml.constructor.SafeConstructor):
    """Plain values; a date stays the text that it was written as."""

    yaml_constructors = {
        **yaml.constructor.SafeConstructor.yaml_constructors,
        "tag:yaml.org,2002:timestamp": yaml.constructor.SafeConstructor.construct_yaml_str,
    }

"""The families whose calls can be read; a model's chat template says to which it belongs."""

from __future__ import annotations

from control_plane.gateway.tools.family import Family
from control_plane.gateway.tools.hermes import HERMES
from control_plane.gateway.tools.llama import LLAMA
from control_plane.gateway.tools.mistral import MISTRAL, MISTRAL_NAMED
from control_plane.gateway.tools.parser import CallParser
from infra.wire import OfferedTools

FAMILIES = (MISTRAL_NAMED, MISTRAL, HERMES, LLAMA)
"""The first whose marks are in a template."""
_BY_NAME = {family.name: family for family in FAMILIES}


def family_of(template: str) -> Family | None:
    """The family that a chat template renders calls for; None where it does not know calls."""
    if "tools" not in template:
        return None
    for family in FAMILIES:
        if all(mark in template for mark in family.template_marks):
            return family
    return None


def told_in_words(template: str) -> bool:
    """Whether `prompt` has to tell the model of functions, in the words of Hermes."""
    return family_of(template) is None


def family_for(template: str) -> Family:
    """How a model with this chat template will write calls."""
    return family_of(template) or HERMES


def family_named(name: str) -> Family:
    """A family that a log knows; one that only later versions know is read as Hermes's."""
    return _BY_NAME.get(name, HERMES)


def parser_for(tools: OfferedTools) -> CallParser:
    family = family_named(tools.family)
    return family.parser(family.marks, frozenset(tools.names), tools.parallel)

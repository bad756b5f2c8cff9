"""GBNF, llama.cpp's notation for grammars, which vLLM takes too, rewritten as Lark."""

from __future__ import annotations

import re

from llguidance.gbnf_to_lark import gbnf_to_lark

MAX_RULES = 500
"""The rewriting takes time quadratic in the rules: a tenth of a second for these."""
_RULE = re.compile(r"^[ \t]*[A-Za-z][\w-]*\s*::=", re.MULTILINE)


class NotGbnf(ValueError):
    """It cannot be rewritten; the text is for whoever wrote it."""


def is_gbnf(text: str) -> bool:
    """Whether a line begins a rule as GBNF does, and as Lark never does."""
    return _RULE.search(text) is not None


def lark_of(text: str) -> str:
    """The same grammar in Lark; its rule `root` is the whole.

    Raises:
        NotGbnf: it has too many rules, is nested too deeply, or is not GBNF.
    """
    rules = len(_RULE.findall(text))
    if rules > MAX_RULES:
        raise NotGbnf(
            f"it has {rules} rules; at most {MAX_RULES} of GBNF are read, or say it in Lark"
        )
    try:
        return gbnf_to_lark(text)
    except RecursionError:
        raise NotGbnf("it is nested too deeply") from None
    except Exception as error:  # the library raises no narrower type
        raise NotGbnf(f"it is not GBNF: {error}") from error

"""Calls in the text of each family: found, passed on as they come, and never made up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.gateway.tools.families import FAMILIES, family_named, parser_for
from control_plane.gateway.tools.pieces import ArgumentsGrown, CallOpened, Content, Piece
from infra.wire import OfferedTools

NAMES = ("get_weather", "put")
PARIS = '{"city": "Paris", "note": "a } and a \\" and </tool_call>"}'

Read = tuple[str, list[tuple[str, str]]]
"""Content, and the calls: name, arguments."""


def pieces_of(family: str, parts: list[str], parallel: bool = True) -> list[Piece]:
    parser = parser_for(OfferedTools(family, NAMES, parallel))
    found = [piece for part in parts for piece in parser.push(part)]
    return found + parser.flush()


def joined(pieces: list[Piece]) -> Read:
    content, calls = "", list[tuple[str, str]]()
    for piece in pieces:
        match piece:
            case Content(text):
                content += text
            case CallOpened(index, name):
                assert index == len(calls)
                calls.append((name, ""))
            case ArgumentsGrown(index, text):
                name, before = calls[index]
                calls[index] = (name, before + text)
    return content, calls


def read(family: str, text: str, parallel: bool = True) -> Read:
    return joined(pieces_of(family, [text], parallel))


def hermes(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def llama(name: str, arguments: str) -> str:
    return f'{{"name": "{name}", "parameters": {arguments}}}'


GOOD: list[tuple[str, str, Read]] = [
    ("hermes", hermes("put", PARIS), ("", [("put", PARIS)])),
    (
        "hermes",
        f"Let me look.\n\n{hermes('get_weather', PARIS)}\n{hermes('put', '{}')}\n",
        ("Let me look.", [("get_weather", PARIS), ("put", "{}")]),
    ),
    (
        "hermes",
        '<tool_call>[{"name": "put", "arguments": {"a": [1]}}, {"name":"put","arguments":{}}]'
        "</tool_call>",
        ("", [("put", '{"a": [1]}'), ("put", "{}")]),
    ),
    (
        "hermes",
        '<tool_call>{"arguments": {"a": "é"}, "name": "put"}</tool_call>',
        ("", [("put", '{"a": "é"}')]),
    ),
    (
        "hermes",
        '<tool_call>{"name": "put", "arguments": {"a": 1}</tool_call> done',
        (" done", [("put", '{"a": 1}')]),
    ),
    ("llama3_json", llama("put", PARIS), ("", [("put", PARIS)])),
    ("llama3_json", f"\n<|python_tag|>{llama('put', PARIS)}", ("", [("put", PARIS)])),
    (
        "llama3_json",
        '{"type": "function", "name": "put", "parameters": {"a": 1}}; ' + llama("put", "{}"),
        ("", [("put", '{"a": 1}'), ("put", "{}")]),
    ),
    (
        "mistral",
        f'[TOOL_CALLS][{{"name": "put", "arguments": {PARIS}, "id": "a}}1"}}, '
        '{"name": "get_weather", "arguments": {}}]',
        ("", [("put", PARIS), ("get_weather", "{}")]),
    ),
    (
        "mistral_named",
        f"Now. [TOOL_CALLS]put[ARGS]{PARIS}[TOOL_CALLS]get_weather[CALL_ID]abc[ARGS]{{}}",
        ("Now.", [("put", PARIS), ("get_weather", "{}")]),
    ),
]

NO_CALLS = [
    ("hermes", "Plain text, with < and {braces} and <tool.\n"),
    ("hermes", hermes("unknown", "{}")),
    ("hermes", "<tool_call>not json</tool_call> and more"),
    ("hermes", '<tool_call>\n{"name": "put"}\n</tool_call>'),
    ("hermes", '<tool_call>\n{"name": "put", "arguments": "text"}\n</tool_call>'),
    ("hermes", '<tool_call>{"name": "put", "argum'),
    ("hermes", "<tool_call>"),
    ("hermes", "<tool_call></tool_call>"),
    ("hermes", " \n "),
    ("llama3_json", '{"name": "Alice", "parameters": {"age": 3}} is her record'),
    ("llama3_json", '{"temperature": 21}'),
    ("llama3_json", "In JSON: " + llama("put", "{}")),
    ("mistral", '[{"name": "put", "arguments": {}}]'),
    ("mistral", "[TOOL_CALLS] hello"),
    ("mistral_named", "[TOOL_CALLS]put and no more"),
    ("mistral_named", "[TOOL_CALLS]" + "put" * 200 + "[ARGS]{}"),
]


@pytest.mark.parametrize(("family", "text", "expected"), GOOD)
def test_calls_are_read_and_the_rest_is_content(family: str, text: str, expected: Read) -> None:
    assert read(family, text) == expected


@pytest.mark.parametrize(("family", "text"), NO_CALLS)
def test_what_is_no_call_of_an_offered_function_is_content_to_the_last_character(
    family: str, text: str
) -> None:
    assert read(family, text) == (text, [])


@pytest.mark.parametrize(
    ("family", "text"), [case[:2] for case in GOOD] + NO_CALLS, ids=lambda each: str(each)[:30]
)
def test_any_cut_into_two_reads_the_same(family: str, text: str) -> None:
    whole = read(family, text)
    for cut in range(len(text) + 1):
        assert joined(pieces_of(family, [text[:cut], text[cut:]])) == whole
    assert joined(pieces_of(family, list(text))) == whole


SCRAPS = st.sampled_from(
    [
        *("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>", "tool_call"),
        *('{"name": "put", "arguments": ', '"name"', '"parameters":', "put", "{", "}", "[", "]"),
        *('"', "\\", ",", ";", " ", "\n", "text", hermes("put", "{}"), llama("put", PARIS)),
    ]
)


@given(st.sampled_from([each.name for each in FAMILIES]), st.lists(SCRAPS, max_size=12), st.data())
def test_any_cut_of_any_text_reads_the_same(
    family: str, scraps: list[str], data: st.DataObject
) -> None:
    text = "".join(scraps)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert joined(pieces_of(family, parts)) == read(family, text)


def test_arguments_are_passed_on_before_they_are_complete() -> None:
    parser = parser_for(OfferedTools("hermes", NAMES))
    assert parser.push('<tool_call>{"name": "put", "arguments": {"a') == [
        CallOpened(0, "put"),
        ArgumentsGrown(0, '{"a'),
    ]
    assert parser.push('": 1') == [ArgumentsGrown(0, '": 1')]
    assert parser.flush() == []
    assert parser.calls == 1


def test_content_is_not_held_back() -> None:
    parser = parser_for(OfferedTools("hermes", NAMES))
    assert parser.push("Hello, <b>") == [Content("Hello, <b>")]
    assert parser.push(" <to") == []
    assert parser.push("p>") == [Content(" <top>")]


def test_where_one_call_is_wanted_the_first_one_counts() -> None:
    text = f"{hermes('put', PARIS)}\n{hermes('get_weather', '{}')} more"
    assert read("hermes", text, parallel=False) == ("", [("put", PARIS)])


def test_a_family_of_a_later_version_is_read_as_the_usual_one() -> None:
    assert family_named("not invented yet").name == "hermes"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_arguments_of_any_json_are_read_whole(value: object) -> None:
    arguments = json.dumps({"value": value}, ensure_ascii=False)
    for family in FAMILIES:
        call = family.call
        text = (
            family.first
            + call.before.replace("{name}", "put")
            + arguments
            + call.after
            + family.last
        )
        assert read(family.name, text) == ("", [("put", arguments)])

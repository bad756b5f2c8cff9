"""Tokenizer processes: right where prompts are good, bounded and replaced where they are not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from control_plane.gateway.chat_template import TemplateRefused, compile_template
from control_plane.gateway.tokenizer_messages import EncodeChat, EncodeTexts
from control_plane.gateway.tokenizer_pool import (
    PromptUnacceptable,
    TokenizerBusy,
    TokenizerPool,
    TokenizerTimeout,
)
from infra.projection import text_digest
from infra.wire import TextAssets
from tests.fixtures.processes import alive
from tests.fixtures.requirements import imported
from tests.fixtures.waiting import eventually

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def with_template(assets: TextAssets, template: str) -> TextAssets:
    return msgspec.structs.replace(assets, chat_template=template)


@pytest.fixture
async def pool() -> AsyncIterator[TokenizerPool]:
    pool = TokenizerPool(size=1, limit_s=1.5)
    await pool.start()
    yield pool
    await pool.close()


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


async def test_what_renders_templates_knows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAMER_ADMIN_KEY", "tamer_secret")
    pool = TokenizerPool(size=1, limit_s=1.5)
    await pool.start()
    try:
        environment = environment_of(pool.pids[0])
    finally:
        await pool.close()
    assert b"tamer_secret" not in environment


async def encode_hello(pool: TokenizerPool, assets: TextAssets) -> list[int]:
    request = EncodeChat(text_digest(assets), HELLO, 100)
    [prompt] = await pool.encode(request, assets)
    return prompt.ids


async def test_a_chat_becomes_its_template_with_special_tokens_parsed(
    pool: TokenizerPool, assets: TextAssets, tokenizer: Any
) -> None:
    text = "<|start|>user\nhello<|end|>\n<|start|>assistant\n"
    assert await encode_hello(pool, assets) == tokenizer.encode(text).ids


async def test_texts_start_with_bos_where_the_model_says_so(
    pool: TokenizerPool, assets: TextAssets, tokenizer: Any
) -> None:
    assets = msgspec.structs.replace(assets, add_bos=True, bos_token="<|start|>")
    request = EncodeTexts(text_digest(assets), ["abc", "abcdef", ""], 4)
    short, long, empty = await pool.encode(request, assets)
    bos = tokenizer.token_to_id("<|start|>")
    assert short.ids == [bos, *tokenizer.encode("abc").ids]
    assert (long.count, long.ids) == (7, [])
    assert empty.ids == [bos]


async def test_a_template_that_never_ends_is_killed_and_the_pool_goes_on(
    pool: TokenizerPool, assets: TextAssets
) -> None:
    before = pool.pids
    with pytest.raises(TokenizerTimeout):
        await encode_hello(pool, with_template(assets, ENDLESS))
    assert await encode_hello(pool, assets)
    assert pool.pids != before


async def test_a_process_that_dies_is_replaced(pool: TokenizerPool, assets: TextAssets) -> None:
    [pid] = pool.pids
    os.kill(pid, 9)
    with pytest.raises(TokenizerBusy):
        await encode_hello(pool, assets)
    assert await encode_hello(pool, assets)


async def test_a_request_that_is_given_up_does_not_answer_the_next(
    pool: TokenizerPool, assets: TextAssets, tokenizer: Any
) -> None:
    slow = "{% for a in range(3000) %}{% for b in range(300) %}{% endfor %}{% endfor %}slow"
    asking = asyncio.create_task(encode_hello(pool, with_template(assets, slow)))

    async def taken() -> bool:
        return pool.busy == 1

    await eventually(taken)
    asking.cancel()
    text = "<|start|>user\nhello<|end|>\n<|start|>assistant\n"
    assert await encode_hello(pool, assets) == tokenizer.encode(text).ids


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[5].content.nothing }}",
        "{% broken",
        "{{ ''.__class__.__mro__ }}",
        "{{ 'x' * 99999999999 }}",
        "{{ 1 / 0 }}",
        "",
    ],
)
async def test_a_template_that_cannot_render_is_the_prompts_fault_and_kills_nothing(
    pool: TokenizerPool, assets: TextAssets, template: str
) -> None:
    before = pool.pids
    with pytest.raises(PromptUnacceptable):
        await encode_hello(pool, with_template(assets, template))
    assert pool.pids == before


async def test_members_end_with_the_pool(assets: TextAssets) -> None:
    pool = TokenizerPool(size=2, limit_s=5)
    await pool.start()
    pids = pool.pids
    assert len(pids) == 2
    await pool.close()

    async def gone() -> bool:
        return not any(map(alive, pids))

    await eventually(gone)


TEMPLATES = [
    "{% for m in messages %}\n    {%- if m.role == 'user' %}\n[{{ m.content | trim }}]\n"
    "    {% endif %}\n{% endfor %}\n{{ eos_token }}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m | tojson }}"
    "{% endfor %}{{ tools is none }}",
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}"
    "{{ ns.n }} {{ {'b': 'é<', 'a': 1} | tojson(indent=2) }}",
    "{{ strftime_now('%Y') }}{{ add_generation_prompt }}",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_templates_render_as_transformers_renders_them(template: str) -> None:
    rendering = imported("transformers", "transformers.utils.chat_template_utils")
    messages = [*HELLO, {"role": "assistant", "content": " <b>é </b>"}]
    expected, _ = rendering.render_jinja_template(
        conversations=[messages],
        chat_template=template,
        add_generation_prompt=True,
        bos_token="<s>",
        eos_token="</s>",
    )
    assert compile_template(template)(messages, "<s>", "</s>") == expected[0]


def test_the_year_is_now() -> None:
    render = compile_template("{{ strftime_now('%Y') }}")
    assert render(HELLO, "", "") in {str(datetime.now().year + step) for step in (-1, 0)}


def test_messages_cannot_be_changed_by_a_template() -> None:
    with pytest.raises(TemplateRefused):
        compile_template("{{ messages.append(1) }}")(HELLO, "", "")

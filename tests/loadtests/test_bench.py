"""`tamer bench` against a real server on loopback, with Locust itself."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import BuiltinImporter, FrozenImporter, ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from control_plane.cli.exits import ExitCode
from control_plane.cli.main import run
from tests.fixtures.openai_stream import FIRST_TOKEN_S, KEY, MODEL, OpenAiStream

Bench = Callable[..., tuple[int, str, str]]
_BRIEF = ("--streams", "2", "--seconds", "1", "--output-tokens", "5")


@pytest.fixture
def bench(
    openai_stream: OpenAiStream,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Bench:
    """The command, found by its entry point, whether this tree is what is installed or not."""
    info = tmp_path / "site" / "tamer_commands_under_test-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tamer-commands-under-test\n")
    (info / "entry_points.txt").write_text(
        "[tamer.commands]\nbench = loadtests.bench.command:bench\n"
    )
    monkeypatch.syspath_prepend(str(info.parent))
    for name in [each for each in os.environ if each.startswith("TAMER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TAMER_HOME", str(tmp_path))
    monkeypatch.setenv("TAMER_URL", openai_stream.url)
    monkeypatch.setenv("TAMER_API_KEY", KEY)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["bench", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_it_measures_and_its_first_request_is_not_counted(
    bench: Bench, openai_stream: OpenAiStream
) -> None:
    code, out, _ = bench(MODEL, *_BRIEF, "--slo-ttft-ms", "60000", "--json")
    assert code == ExitCode.OK
    found = json.loads(out)
    done = found["requests"]["completed"]
    assert done + found["requests"]["unfinished"] == len(openai_stream.bodies) - 1 > 2
    assert found["requests"]["failed"] == 0
    assert found["ttft_ms"]["p50"] >= FIRST_TOKEN_S * 1000
    assert found["itl_ms"].keys() == found["tpot_ms"].keys() == {"p50", "p95"}
    assert found["output_tokens_per_s"] == pytest.approx(5 * found["requests_per_s"], rel=0.01)
    assert found["slo"] == {"ttft_ms": 60000, "tpot_ms": None, "attainment": 1.0}
    assert {each["max_tokens"] for each in openai_stream.bodies[1:]} == {5}


def test_people_get_tables(bench: Bench) -> None:
    code, out, err = bench(MODEL, *_BRIEF)
    assert code == ExitCode.OK
    assert [line.split()[0] for line in out.splitlines()[:4]] == ["LATENCY", "TTFT", "TPOT", "ITL"]
    assert "2 streams for 1 s" in err


def test_failed_requests_are_counted_and_end_it_with_1(bench: Bench) -> None:
    code, out, _ = bench("tired", *_BRIEF, "-o", "yaml")
    assert code == ExitCode.FAILED
    found = yaml.safe_load(out)
    assert found["requests"]["failed"] > 0
    assert found["ttft_ms"] is None
    assert "the replica is gone" in next(iter(found["errors"]))


def test_a_deployment_that_does_not_answer_is_said_before_any_load(
    bench: Bench, openai_stream: OpenAiStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench("broken", *_BRIEF)[0] == ExitCode.FAILED
    assert len(openai_stream.bodies) == 1
    monkeypatch.setenv("TAMER_API_KEY", "wrong")
    assert bench(MODEL, *_BRIEF)[0] == ExitCode.REFUSED


def test_without_locust_it_says_what_to_type_before_anything_else(
    bench: Bench, openai_stream: OpenAiStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", [BuiltinImporter, FrozenImporter, _WithoutLocust])
    for name in [each for each in sys.modules if each.partition(".")[0] == "locust"]:
        monkeypatch.delitem(sys.modules, name)
    code, out, err = bench(MODEL, *_BRIEF)
    assert (code, out) == (ExitCode.FAILED, "")
    assert "pip install" in err and "[load]" in err
    assert openai_stream.bodies == []


class _WithoutLocust(PathFinder):
    """As if it were not installed."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return None if fullname == "locust" else super().find_spec(fullname, path, target)


def test_another_machine_is_not_loaded_without_being_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAMER_URL", "http://192.0.2.1")
    code, _, err = bench(MODEL, *_BRIEF)
    assert code == ExitCode.USAGE
    assert "--allow-remote" in err

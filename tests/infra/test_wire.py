"""Messages survive the wire, and a process understands one version back and forth."""

from __future__ import annotations

import msgspec
import pytest

from infra.wire import JobSpec, Malformed, Sampling, TokenEvent, decode, encode

SPEC = JobSpec("job-1", "req-1", [1, 2, 3], Sampling(max_tokens=5, seed=7), delivered=[9])


def test_a_message_survives_the_wire() -> None:
    assert decode(encode(SPEC), JobSpec) == SPEC


def test_fields_of_a_newer_version_are_skipped() -> None:
    newer = msgspec.msgpack.decode(encode(SPEC)) | {"from_the_future": [1]}
    assert decode(msgspec.msgpack.encode(newer), JobSpec) == SPEC


def test_fields_that_an_older_version_lacks_have_defaults() -> None:
    older = {"job_id": "j", "request_id": "r", "prompt": [1], "sampling": {"max_tokens": 1}}
    assert decode(msgspec.msgpack.encode(older), JobSpec).delivered == []


def test_a_job_of_wire_version_1_is_not_traced() -> None:
    older = {"job_id": "j", "request_id": "r", "prompt": [1], "sampling": {"max_tokens": 1}}
    assert decode(msgspec.msgpack.encode(older), JobSpec).traceparent == ""
    untraced = msgspec.msgpack.decode(encode(SPEC))
    assert "traceparent" not in untraced


def test_an_array_message_of_a_newer_version_is_understood() -> None:
    newer = msgspec.msgpack.encode(["job-1", 1, 0, [5], None, "", [], [], "from the future"])
    assert decode(newer, TokenEvent) == TokenEvent("job-1", 1, 0, [5])


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x93\x01\x02\x03", encode(SPEC)[:-1]])
def test_bytes_that_are_no_message_are_refused(body: bytes) -> None:
    with pytest.raises(Malformed, match="JobSpec"):
        decode(body, JobSpec)

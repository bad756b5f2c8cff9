"""Shared fixtures live in `tests/fixtures`, one noun a file."""

pytest_plugins = [
    "tests.fixtures.byte_tokenizer",
    "tests.fixtures.database",
    "tests.fixtures.ec2_region",
    "tests.fixtures.hub_server",
    "tests.fixtures.neighbour",
    "tests.fixtures.openai_stream",
    "tests.fixtures.packed_model",
    "tests.fixtures.platform",
    "tests.fixtures.postgres",
    "tests.fixtures.s3_server",
    "tests.fixtures.smollm2",
    "tests.fixtures.spans",
    "tests.fixtures.spot_platform",
    "tests.fixtures.tiny_decoder",
    "tests.fixtures.tiny_llama",
    "tests.fixtures.triton_kernels",
    "tests.fixtures.valkey",
    "tests.fixtures.valkey_cluster",
    "tests.fixtures.valkey_sentinel",
]

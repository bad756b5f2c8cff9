"""A gateway on a real port, a tiny real tokenizer, and a replica that a test speaks for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx
import openai
import pytest
from redis.asyncio import Redis
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from control_plane.gateway.app import build_gateway
from control_plane.gateway.services import Services
from infra.connection import RedisClient
from infra.embedded import EmbeddedValkey
from infra.keys import hash_secret
from infra.projection import ProjectionPublisher, text_digest
from infra.queue.queue import JobQueue, Lease, Progress
from infra.settings import Settings
from infra.token_stream import TokenWriter
from infra.wire import (
    FinishReason,
    JobSpec,
    KeyEntry,
    Projection,
    Route,
    StepTokens,
    Target,
    TextAssets,
    TokenEvent,
    TokenLogprob,
    decode,
)
from tests.fixtures.ports import free_port
from tests.fixtures.served import Served
from tests.fixtures.waiting import eventually

KEY = "test_inference_key"
MODEL = "chat"
REVISION = "rev-1"
CONTEXT_TOKENS = 512
EOS = "<|end|>"
TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|end|>\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def build_tokenizer() -> Tokenizer:
    """Byte-level BPE: every byte is a token, a few pairs are one, two tokens are special."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate(alphabet)}
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "s"), ("Ã", "©")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|start|>", EOS])
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return build_tokenizer()


@pytest.fixture(scope="session")
def assets() -> TextAssets:
    return text_assets()


def text_assets() -> TextAssets:
    tokenizer = build_tokenizer()
    return TextAssets(
        tokenizer_json=tokenizer.to_str(),
        chat_template=TEMPLATE,
        eos_token=EOS,
        eos_token_ids=tuple(tokenizer.encode(EOS).ids),
    )


class Replica:
    """A worker that does only what a test tells it to, over the real queue and token stream."""

    def __init__(
        self,
        redis: RedisClient,
        tokenizer: Tokenizer,
        replica_id: str = "replica-1",
        *,
        revision: str = REVISION,
        tokens: RedisClient | None = None,
    ) -> None:
        self.queue = JobQueue(redis, revision)
        self._writer = TokenWriter(tokens or redis)
        self._tokenizer = tokenizer
        self.id = replica_id

    def ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    async def queue_holds(self, jobs: int) -> None:
        """Wait until that many jobs wait."""

        async def waiting() -> bool:
            return (await self.queue.signals()).queued == jobs

        await eventually(waiting)

    async def take(self, ttl_s: float = 30.0) -> tuple[Lease, JobSpec]:
        """Lease the next job, waiting for it."""
        leases = await eventually(lambda: self.queue.lease(self.id, 1, 1 << 30, ttl_s))
        return leases[0], decode(leases[0].spec, JobSpec)

    async def say(
        self,
        lease: Lease,
        index: int,
        tokens: Sequence[int] = (),
        finish: FinishReason | None = None,
        *,
        attempt: int | None = None,
        error: str = "",
        logprobs: Sequence[TokenLogprob] = (),
        prompt_logprobs: Sequence[TokenLogprob | None] = (),
    ) -> None:
        event = TokenEvent(
            lease.job_id,
            attempt or lease.attempt,
            index,
            list(tokens),
            finish,
            error,
            list(logprobs),
            list(prompt_logprobs),
        )
        await self._writer.write({lease.consumer: StepTokens(self.id, [event])})

    async def renew(self, lease: Lease, output_tokens: int, ttl_s: float = 30.0) -> list[str]:
        progress = Progress(lease.job_id, lease.attempt, lease.nonce, output_tokens)
        return await self.queue.renew(self.id, [progress], ttl_s)

    async def told_to_stop(self, lease: Lease) -> None:
        """Wait for the bell to say that this job is to be stopped."""

        async def stopped() -> bool:
            return lease.job_id in await self.queue.wait(self.id, 1)

        await eventually(stopped)

    async def answer(self, text: str, jobs: int = 1) -> list[JobSpec]:
        """Serve that many jobs, each with the same text, token by token."""
        specs = []
        for _ in range(jobs):
            lease, spec = await self.take()
            await self.run(lease, spec, text)
            specs.append(spec)
        return specs

    async def serve(self, text: str) -> None:
        """Answer every job so, for ever."""
        while True:
            leases = await self.queue.lease(self.id, 16, 1 << 30, 30.0)
            for lease in leases:
                await self.run(lease, decode(lease.spec, JobSpec), text)
            if not leases:
                await self.queue.wait(self.id, 1)

    async def run(self, lease: Lease, spec: JobSpec, text: str) -> None:
        tokens = self.ids(text)[: spec.sampling.max_tokens]
        for index, token in enumerate(tokens):
            await self.say(lease, index, [token])
        full = len(tokens) == spec.sampling.max_tokens
        await self.say(lease, len(tokens), [], FinishReason.LENGTH if full else FinishReason.STOP)


class Gateway:
    """One gateway process's worth of server, and the controller's side of its projection."""

    def __init__(self, settings: Settings, redis: RedisClient, assets: TextAssets) -> None:
        self.settings = settings
        self.app = build_gateway(settings)
        self.redis = redis
        self.publisher = ProjectionPublisher(redis)
        self.queue = JobQueue(redis, REVISION)
        self._assets = assets
        self._server = Served(self.app, settings)
        self.route: Route | None = None

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def route_digest(self) -> str:
        """Names the text side of its model."""
        return text_digest(self._assets)

    @property
    def connections(self) -> int:
        return self._server.connections

    @property
    def services(self) -> Services:
        services: Services = self.app.state.gateway
        return services

    async def publish(self, **changes: object) -> None:
        """Publish one route and the keys, and wait until the gateway has heard."""
        route = await self.announce(**changes)

        async def heard() -> bool:
            return self.services.known.route(MODEL) == route

        await eventually(heard)

    async def announce(self, **changes: object) -> Route:
        """Publish one route and the keys, whoever listens."""
        digest = await self.publisher.publish_text(self._assets)
        fields: dict[str, object] = {
            "deployment_id": "dep-1",
            "name": MODEL,
            "created_at": 1_700_000_000,
            "targets": [Target(REVISION)],
            "text_digest": digest,
            "max_context_tokens": CONTEXT_TOKENS,
            "vocabulary_size": 300,
            "ready_replicas": 1,
        }
        route = Route(**{**fields, **changes})  # type: ignore[arg-type]
        keys = [
            KeyEntry("key-1", hash_secret(KEY), "tenant-1", ("inference",)),
            KeyEntry("key-2", hash_secret("test_admin_key"), "tenant-1", ("admin",)),
            KeyEntry("key-3", hash_secret("test_agent_key"), "tenant-1", ("agent",)),
            KeyEntry("key-4", hash_secret("test_other_tenant_key"), "tenant-2", ("inference",)),
        ]
        await self.publisher.publish(Projection(1, [route], keys))
        return route

    async def settled(self, **expected: int) -> None:
        """Wait until the queue's books say so, with nothing pending."""

        async def booked() -> bool:
            balance = await self.queue.balance()
            return balance.pending == 0 and all(
                getattr(balance, state) == count for state, count in expected.items()
            )

        await eventually(booked)
        assert (await self.queue.balance()).holds

    def openai(self) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=KEY, max_retries=0, timeout=20)

    def http(self, key: str = KEY) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url, headers={"authorization": f"Bearer {key}"}, timeout=20
        )


@pytest.fixture
def settings(valkey_server: EmbeddedValkey, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        jobs_url=valkey_server.url,
        sse_comment_s=0.1,
        consumer_lease_s=10.0,
        max_attempts=3,
        max_body_bytes=1 << 20,
    )


@pytest.fixture
async def gateway(settings: Settings, valkey: Redis, assets: TextAssets) -> AsyncIterator[Gateway]:
    """A gateway that knows one deployment."""
    gateway = Gateway(settings, valkey, assets)
    await gateway.start()
    await gateway.publish()
    yield gateway
    await gateway.stop()


@pytest.fixture
def unused_port() -> int:
    return free_port()


@pytest.fixture
def replica(valkey: Redis, tokenizer: Tokenizer) -> Replica:
    return Replica(valkey, tokenizer)

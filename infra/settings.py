"""One typed source of configuration: TAMER_* variables, `$TAMER_HOME/tamer.toml`, defaults."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from infra.names import LOCAL_CLOUD
from infra.redis_url import parse_redis_url
from infra.settings_file import SettingsFile

SOCKET_PATH_BYTES = 107
"""What Linux allows the path of a Unix socket (macOS: 103)."""
_SOCKET_NAME_BYTES = 32
"""Room for the longest name of a socket in the run folder."""


def _home() -> Path:
    return Path(os.environ.get("TAMER_HOME") or "~/.tamer").expanduser().absolute()


class Standby(StrEnum):
    """Whether an agent keeps an engine process that waits with its imports done."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


def zone_pairs(written: str) -> dict[str, str]:
    """Subnets by zone, of "ZONE=SUBNET,ZONE=SUBNET". Raises ValueError: it is not that."""
    pairs: dict[str, str] = {}
    for pair in filter(None, (each.strip() for each in written.split(","))):
        zone, equals, subnet = (each.strip() for each in pair.partition("="))
        if not (zone and equals and subnet) or zone in pairs:
            raise ValueError("write ZONE=SUBNET,ZONE=SUBNET with each zone once")
        if subnet in pairs.values():
            raise ValueError(f"{subnet} is in one zone: write a subnet for each zone")
        pairs[zone] = subnet
    return pairs


class Settings(BaseSettings):
    """Every setting of every process. `docs/configuration.md` is generated from this class."""

    model_config = SettingsConfigDict(
        env_prefix="TAMER_", extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    home: Path = Field(default_factory=_home, description="Folder that holds all local state.")
    cache_dir: Path | None = Field(
        None,
        description="Folder of what can be made again (kernels compiled for this machine); empty: "
        "$XDG_CACHE_HOME/tamer, else ~/.cache/tamer.",
    )

    host: str = Field("127.0.0.1", description="Address that the gateway and the API listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the gateway and the API.")
    url: str = Field(
        "", description="Where clients and agents reach the API; empty: host and port."
    )
    admin_key: SecretStr = Field(
        SecretStr(""), description="The first admin key, created at start if it does not exist."
    )
    api_key: SecretStr = Field(
        SecretStr(""), description="Key of the command line; empty: what `tamer up` wrote."
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="Secret of the control plane; join tokens are derived from it. "
        "Empty: made once, in a file in the home folder that only its owner reads.",
    )
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Serve `/metrics` without a key on the first free of 16 ports from here; "
        "0: nowhere but on `port`, with an admin key.",
    )
    metrics_host: str = Field("127.0.0.1", description="Address of `metrics_port`.")
    max_body_bytes: int = Field(8 << 20, gt=0, description="Largest request body that is read.")
    receive_limit_s: float = Field(
        60.0, gt=0, description="Time a client has to send a request's head, and again its body."
    )
    send_limit_s: float = Field(
        30.0,
        gt=0,
        description="A client that takes nothing of its answer for this long is cut off.",
    )

    database_url: str = Field(
        "", description="SQLAlchemy URL of the store; empty: SQLite in the home folder."
    )
    jobs_url: str = Field(
        "",
        description="Redis of the job queue (persistent): redis://HOST:PORT/0, "
        "redis+sentinel://HOST:PORT,HOST:PORT/MASTER or redis+cluster://HOST:PORT,HOST:PORT, "
        "rediss for TLS, USER:PASSWORD@ before the hosts; empty: embedded.",
    )
    tokens_url: str = Field(
        "", description="Redis of the token streams, written alike; empty: same as jobs_url."
    )
    agent_jobs_url: str = Field(
        "",
        description="`jobs_url` as machines that join reach it; empty: as it is, or the embedded "
        "port under the name by which they reach the API.",
    )
    agent_tokens_url: str = Field(
        "", description="`tokens_url` as machines that join reach it; empty: found in the same way."
    )
    embedded_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="TCP port of the embedded Valkey for machines that join, with a password that "
        "is made once; 0: none, a Unix socket only.",
    )
    embedded_host: str = Field("127.0.0.1", description="Address of `embedded_port`.")
    broker_url: str = Field(
        "",
        description="Redis of the Celery broker, one plain server: redis://HOST:PORT/1; "
        "empty: embedded.",
    )
    storage_url: str = Field(
        "",
        description="Object store of models: file:///FOLDER or s3://BUCKET/PREFIX; "
        "empty: home/models.",
    )
    s3_endpoint: str = Field(
        "", description="URL of an S3 that is not Amazon's; empty: Amazon's, by AWS_REGION."
    )
    hf_endpoint: str = Field(
        "https://huggingface.co", description="The hub that hf:// models come from."
    )
    hf_token: SecretStr = Field(
        SecretStr(""), description="Token for private and gated models; empty: what HF_TOKEN says."
    )

    model_cache_bytes: int = Field(
        200 << 30,
        ge=0,
        description="The most that models of a store elsewhere take of this machine's disk; what "
        "was used longest ago goes first; 0: none.",
    )
    weights_memory_bytes: int = Field(
        0,
        ge=0,
        description="The most memory that an agent takes for weights; 0: three quarters of all.",
    )
    weights_kept_bytes: int = Field(
        0,
        ge=0,
        description="Of that, what it keeps of models that no replica needs now, so that their "
        "next start reads nothing; 0: a third.",
    )
    store_streams: int = Field(
        32, ge=1, description="Parts of a model that an agent reads from the store at once."
    )
    peer_host: str = Field(
        "",
        description="Address on which an agent serves weights to others that run the same model; "
        "empty: the one from which it reaches the Redis of the jobs.",
    )
    peer_port: int = Field(0, ge=0, le=65535, description="Port of that; 0: a free one.")
    peer_bytes_per_s: int = Field(
        1_000_000_000,
        ge=0,
        description="The most that an agent serves to others; 0: nothing is served or asked for.",
    )

    lease_s: float = Field(5.0, gt=0, description="A replica's right to a job, unless renewed.")
    consumer_lease_s: float = Field(
        10.0,
        gt=0,
        description="After this silence of a gateway its interactive jobs end. Redis may be away "
        "for longer; outages of less than 3 s count as silence, so leave it 4 s at the least.",
    )
    durable_keep_s: float = Field(
        86400.0,
        gt=0,
        description="How long the answer of a background or idempotent request is kept.",
    )
    max_attempts: int = Field(
        4, ge=1, description="Attempts that replicas may lose before a job is a dead letter."
    )
    heartbeat_s: float = Field(1.0, gt=0, description="How often agents report.")
    instance_lost_s: float = Field(10.0, gt=0, description="Silence after which an agent is lost.")
    join_limit_s: float = Field(
        120.0,
        gt=0,
        description="Time an instance of the local cloud has from its launch to its join, and any "
        "agent for its attempts.",
    )
    join_token_s: float = Field(3600.0, gt=0, description="Life of a one-time join token.")
    start_limit_s: float = Field(
        1800.0, gt=0, description="Time a replica has for each step of its start: to boot, to load."
    )
    drain_limit_s: float = Field(
        30.0, ge=0, description="Time a draining replica has to finish what it runs."
    )

    starts_keep_s: float = Field(
        2_592_000.0, gt=0, description="How long the ledger remembers a start of a replica."
    )

    reconcile_s: float = Field(1.0, gt=0, description="Pause between two passes of the controller.")
    row_lease_s: float = Field(6.0, gt=0, description="A controller's hold on one row.")
    operation_limit_s: float = Field(600.0, gt=0, description="Deadline of one long side effect.")
    import_limit_s: float = Field(21600.0, gt=0, description="Deadline of one import of a model.")
    crash_wait_s: float = Field(
        1.0, gt=0, description="Pause after a replica failed to start; doubles up to a minute."
    )
    crash_limit: int = Field(
        5, ge=1, description="Failed starts in a row after which a deployment has failed."
    )
    crash_limit_usd: float = Field(
        10.0,
        gt=0,
        description="What machines of failed starts in a row may cost until their deployment has "
        "failed.",
    )
    meter_s: float = Field(
        60.0, gt=0, description="How often costs are written down and budgets looked at."
    )
    machine_extra_usd_per_hour: float = Field(
        0.0,
        ge=0,
        description="What the disk and the public address of a machine cost beside it: on EC2 in "
        "us-east-1 about 0.005 for the address and 0.00011 for each GiB of gp3.",
    )
    projection_max_age_s: float = Field(
        60.0, gt=0, description="A gateway that has heard nothing for this long refuses requests."
    )
    sse_comment_s: float = Field(
        5.0, gt=0, description="Pause between comments that keep a waiting stream alive."
    )

    join_url: str = Field("", description="Where an agent joins: the address of the API.")
    join_token: SecretStr = Field(
        SecretStr(""), description="The one-time token with which an agent joins."
    )
    slots: int = Field(0, ge=0, description="Device slots of one agent; 0: its GPUs, at least 1.")

    standby: Standby = Field(
        Standby.AUTO,
        description="An engine process that waits with its imports done, about 0.35 GB: auto where "
        "a slot is free or `keep_warm` asks for one, on also beside replicas, or off; in any case "
        "only where 2 GiB stay available.",
    )

    cloud: str = Field(
        LOCAL_CLOUD,
        description="The cloud that runs instances, beside machines that joined: local, aws (EC2), "
        "or joined for those alone.",
    )
    aws_region: str = Field(
        "", description="Region of the instances; empty: what AWS_REGION or the profile says."
    )
    aws_endpoint_url: str = Field(
        "", description="URL of an EC2 and SQS that are not Amazon's; empty: Amazon's."
    )
    aws_owner: str = Field(
        "tamer",
        min_length=1,
        max_length=128,
        description="Value of the tag `tamer:owner` on all that this control plane launches; what "
        "carries another is not seen. Each control plane needs one of its own.",
    )
    aws_launch_template: str = Field(
        "",
        description="Id or name of the launch template of GPU workers; empty: the one that carries "
        "our `tamer:owner`, made from `aws_image` where there is none.",
    )
    aws_image: str = Field(
        "", description="AMI of a launch template that we make; it holds Tamer and its drivers."
    )
    aws_security_groups: str = Field(
        "", description="Ids of its security groups, with commas; empty: the VPC's default."
    )
    aws_instance_profile: str = Field(
        "", description="ARN of its instance profile, which may read the model store."
    )
    aws_subnets: str = Field(
        "",
        description="Where instances run: ZONE=SUBNET, with commas; empty: the default subnets of "
        "the default VPC.",
    )
    aws_events_queue_url: str = Field(
        "",
        description="SQS queue to which EventBridge sends spot interruption warnings and rebalance "
        "recommendations; empty: agents alone hear of them.",
    )
    aws_calls_per_s: float = Field(
        10.0, gt=0, description="The most calls to AWS a second, of one process, on average."
    )
    aws_describe_s: float = Field(
        5.0, ge=0, description="How often a controller asks EC2 which machines there are."
    )
    aws_unseen_s: float = Field(
        60.0,
        gt=0,
        description="Time after a launch in which EC2 need not show the machine yet; one that "
        "is not shown after it, and does not speak, is replaced.",
    )
    aws_join_limit_s: float = Field(
        0.0,
        ge=0,
        description="Time a machine has from its launch to its join; 0: four times the slowest of "
        "the last 20 joins, within 3 to 30 minutes, and 15 minutes while few are known.",
    )
    imds_url: str = Field(
        "",
        description="Where an agent hears that its machine will be taken away (EC2's instance "
        "metadata, version 2); empty: nowhere. Set on the machines that we launch.",
    )
    agent_env: dict[str, str] = Field(
        default_factory=dict, description="Extra environment of agents that the local cloud starts."
    )
    torch_threads: int = Field(
        0, ge=0, description="CPU threads of one engine; 0: all cores but one, at most 8."
    )
    tokenizer_processes: int = Field(1, ge=1, description="Processes that render and tokenise.")
    tokenizer_limit_s: float = Field(
        10.0, gt=0, description="Time to render and tokenise one prompt before it is refused."
    )
    log_level: str = Field("info", description="debug, info, warning or error.")
    trace_file: Path | None = Field(
        None,
        description="Append the spans of requests to this file, as lines of OTLP/JSON; "
        "empty: no file (OTEL_EXPORTER_OTLP_ENDPOINT sends them to a collector).",
    )

    @field_validator("home", "cache_dir", "trace_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("jobs_url", "tokens_url", "agent_jobs_url", "agent_tokens_url")
    @classmethod
    def _of_redis(cls, url: str) -> str:
        if url:
            parse_redis_url(url)
        return url

    @field_validator("aws_subnets")
    @classmethod
    def _of_zones(cls, pairs: str) -> str:
        zone_pairs(pairs)
        return pairs

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, level: str) -> str:
        if level.lower() not in ("debug", "info", "warning", "error"):
            raise ValueError("write debug, info, warning or error")
        return level.lower()

    @field_validator("broker_url")
    @classmethod
    def _one_server(cls, url: str) -> str:
        if url.partition("://")[0].endswith(("+sentinel", "+cluster")):
            raise ValueError(
                "the broker of Celery is one plain server: write redis://host:port/1 "
                "(what it loses is sent again)"
            )
        return url

    @property
    def api_url(self) -> str:
        return self.url or f"http://{self.host}:{self.port}"

    @property
    def run_dir(self) -> Path:
        """Sockets; nothing in it outlives `tamer up`.

        A home with a long path has it in the temporary folder, since the path of a socket is
        limited; whoever creates it uses `private_folder.make_private`.
        """
        folder = self.home / "run"
        if len(os.fsencode(folder)) + 1 + _SOCKET_NAME_BYTES <= SOCKET_PATH_BYTES:
            return folder
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"tamer-{os.getuid()}-{digest}"

    @property
    def logs_dir(self) -> Path:
        return self.home / "logs"

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{self.home / 'tamer.db'}"

    @property
    def embeds_valkey(self) -> bool:
        """False where the user brings a Redis for the jobs and one for the broker."""
        return not (self.jobs_url and self.broker_url)

    @property
    def embedded_socket(self) -> Path:
        return self.run_dir / "valkey.sock"

    @property
    def embedded_data_dir(self) -> Path:
        """What the embedded Valkey keeps."""
        return self.home / "valkey"

    @property
    def cloud_socket(self) -> Path:
        """Where the host daemon of the `local` cloud listens."""
        return self.run_dir / "cloud.sock"

    @property
    def embedded_password_file(self) -> Path:
        """There once the embedded Valkey has been opened to other machines, and from then on."""
        return self.home / "valkey.password"

    @property
    def embedded_password(self) -> str:
        """Safe in a URL; empty where there is none, or it is not ours to read."""
        try:
            return self.embedded_password_file.read_text()
        except OSError:
            return ""

    @property
    def jobs(self) -> str:
        return self.jobs_url or self._embedded

    @property
    def tokens(self) -> str:
        return self.tokens_url or self.jobs_url or self._embedded

    @property
    def _embedded(self) -> str:
        password = self.embedded_password
        return f"unix://{self.embedded_socket}?db=0" + (password and f"&password={password}")

    @property
    def broker(self) -> str:
        password = self.embedded_password
        access = password and f":{password}@"
        return self.broker_url or f"redis+socket://{access}{self.embedded_socket}?virtual_host=1"

    @property
    def storage(self) -> str:
        return self.storage_url or f"file://{quote(str(self.home / 'models'))}"

    @property
    def downloads_dir(self) -> Path:
        """What imports have fetched of models so far; an import that is tried again goes on."""
        return self.home / "downloads"

    @property
    def scratch_dir(self) -> Path:
        """Models on their way to a store that is not a folder."""
        return self.home / "scratch"

    @property
    def model_cache_dir(self) -> Path:
        """Models of a store that is not a folder, as this machine's processes read them."""
        return self.home / "model-cache"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = SettingsFile(settings_cls, _home() / "tamer.toml")
        return init_settings, env_settings, file


_SECRET_VARIABLES = frozenset(
    f"TAMER_{name.upper()}"
    for name, field in Settings.model_fields.items()
    if field.annotation is SecretStr
) | {
    "HF_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
}


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for a process that runs what came with a model."""
    return {name: value for name, value in environment.items() if name not in _SECRET_VARIABLES}


def document() -> str:
    """`docs/configuration.md`: one row a setting."""
    lines = [
        "# Configuration",
        "",
        "Every process reads the same settings: an environment variable `TAMER_NAME`, else `name`",
        "in `$TAMER_HOME/tamer.toml`, else the default. Written by `make docs` from",
        "`infra/settings.py`.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = (
            "`~/.tamer`" if name == "home" else _shown(field.get_default(call_default_factory=True))
        )
        lines.append(f"| `TAMER_{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def _shown(default: object) -> str:
    text = default.get_secret_value() if isinstance(default, SecretStr) else str(default)
    return f"`{text}`" if text and default not in ({}, None) else ""


if __name__ == "__main__":
    import sys

    sys.stdout.write(document())

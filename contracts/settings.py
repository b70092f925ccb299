"""How a process is configured: a pure function of its environment variables.

`everloop dev` sets these for the processes it starts; in service an operator sets them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from contracts.email_settings import EmailSettings
from contracts.env_values import choice as _choice
from contracts.env_values import flag as _flag
from contracts.env_values import items as _list
from contracts.env_values import whole as _whole
from contracts.sandbox_settings import SandboxSettings
from contracts.vault import KMS_KEY_ARN, KMS_PREFIX
from contracts.webhook_settings import WebhookSettings

#: What can run environments.
ENGINES = ("bubblewrap", "docker", "kubernetes")


@dataclass(frozen=True)
class Settings:
    """What every process of Everloop needs to know.

    Attributes:
        database_url: SQLAlchemy URL, `sqlite:///...` or `postgresql+asyncpg://...`.
        data_dir: where session volumes and sockets of local environments live; each host's own.
        volumes_dir: where session volumes live instead, on a file system that sandbox hosts share;
            with kubernetes, whose volumes are claims, their snapshots only;
            one of them then goes on with the sessions of another that dies.
        files_may_be_lost: whether this machine's sandbox host goes on with sessions of dead hosts
            whose files it does not have.
        temporal_address: host:port of the Temporal frontend.
        temporal_namespace: its namespace.
        api_host: the address the API listens on.
        api_port: its port; 0 takes a free one.
        region: the region in ARNs.
        account: the twelve-digit account in ARNs.
        host_id: the name of this machine's sandbox host.
        host_bind: the address that this machine's sandbox host serves API processes and workers on.
        host_port: its port; 0 takes a free one.
        host_address: the URL at which they find it; None when that is `host_bind` itself.
        demo_model_url: base URL of the scripted demo model; None when it does not run.
        grace_s: `SessionState.grace_s` of new runs.
        park_s: `SessionState.park_s` of new runs.
        build_id: names the worker's build; runs are then pinned to the build that they began on.
        promote: whether a worker with a build id makes its build the current one when it starts.
        shutdown_s: seconds that a process lets running work finish when told to stop.
        signatures: `verified`, `any`, or None for `any` on loopback and `verified` elsewhere.
        keys_from_env: whether OpenAI and Gemini models whose `apiKeyArn` names no provider of the
            vault use the key in the worker's environment.
        keyed_api_bases: `apiBase` values that callers may send the worker's own keys to.
        engine: what runs environments: one of `ENGINES`.
        docker_host: the Engine API's URL, as DOCKER_HOST has it.
        image: the container image of environments that ask for none.
        kubernetes_namespace: where pods of environments go.
        kubernetes_storage_class: of session volumes; None for the cluster's default.
        kubernetes_volume_size: of a session volume, as Kubernetes writes quantities.
        kubernetes_runtime_class: as `gvisor`; None for the cluster's default.
        kubeconfig: a file, as KUBECONFIG has it; None for a service account's.
        keyring: the vault's key ring as JSON, or `kms:` and the ARN of a KMS key; None when it is
            in `<data_dir>/keyring.json`.
        sandbox: what environments of this machine may use and reach.
        retention_days: days after its last use that a session is deleted; None keeps it.
        receipt_days: days that receipts of deletions are kept; None keeps them.
        webhook: where notices are posted; None posts none.
        email: how and to whom notices are mailed; None mails none.
    """

    database_url: str
    data_dir: Path
    temporal_address: str = "127.0.0.1:7233"
    temporal_namespace: str = "default"
    api_host: str = "127.0.0.1"
    api_port: int = 8080
    region: str = "us-east-1"
    account: str = "000000000000"
    host_id: str = "local"
    host_bind: str = "127.0.0.1"
    host_port: int = 0
    host_address: str | None = None
    demo_model_url: str | None = None
    grace_s: int = 30
    park_s: int = 30 * 24 * 3600
    shutdown_s: int = 30
    build_id: str | None = None
    promote: bool = False
    signatures: str | None = None
    keys_from_env: bool = False
    keyed_api_bases: tuple[str, ...] = ()
    engine: str = "bubblewrap"
    docker_host: str = "unix:///var/run/docker.sock"
    image: str = "python:3.12-slim"
    kubernetes_namespace: str = "everloop"
    kubernetes_storage_class: str | None = None
    kubernetes_volume_size: str = "1Gi"
    kubernetes_runtime_class: str | None = None
    kubeconfig: str | None = None
    retention_days: int | None = None
    receipt_days: int | None = None
    keyring: str | None = field(default=None, repr=False)
    sandbox: SandboxSettings = SandboxSettings()
    volumes_dir: Path | None = None
    files_may_be_lost: bool = False
    webhook: WebhookSettings | None = None
    email: EmailSettings | None = None

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Read `EVERLOOP_*` variables; each attribute's name in capitals follows the prefix.

        Raises:
            ValueError: a variable does not hold what it must; the message names it.
        """
        data_dir = Path(env.get("EVERLOOP_DATA_DIR", ".everloop")).absolute()
        account = env.get("EVERLOOP_ACCOUNT", cls.account)
        if not (len(account) == 12 and account.isdecimal()):
            raise ValueError(f"EVERLOOP_ACCOUNT must be twelve digits, not {account!r}")
        api_host = env.get("EVERLOOP_API_HOST", cls.api_host)
        api_port = _whole(env, "EVERLOOP_API_PORT", cls.api_port, 0, 65535)
        return cls(
            database_url=env.get("EVERLOOP_DATABASE_URL", f"sqlite:///{data_dir / 'everloop.db'}"),
            data_dir=data_dir,
            temporal_address=env.get("EVERLOOP_TEMPORAL_ADDRESS", cls.temporal_address),
            temporal_namespace=env.get("EVERLOOP_TEMPORAL_NAMESPACE", cls.temporal_namespace),
            api_host=api_host,
            api_port=api_port,
            region=env.get("EVERLOOP_REGION", cls.region),
            account=account,
            host_id=env.get("EVERLOOP_HOST_ID", cls.host_id),
            host_bind=env.get("EVERLOOP_HOST_BIND", cls.host_bind),
            host_port=_whole(env, "EVERLOOP_HOST_PORT", cls.host_port, 0, 65535),
            host_address=_url(env, "EVERLOOP_HOST_ADDRESS"),
            demo_model_url=env.get("EVERLOOP_DEMO_MODEL_URL"),
            grace_s=_whole(env, "EVERLOOP_GRACE_S", cls.grace_s, 0, 86400),
            park_s=_whole(env, "EVERLOOP_PARK_S", cls.park_s, 0, 366 * 86400),
            build_id=env.get("EVERLOOP_BUILD_ID") or None,
            promote=_flag(env, "EVERLOOP_PROMOTE"),
            shutdown_s=_whole(env, "EVERLOOP_SHUTDOWN_S", cls.shutdown_s, 0, 3600),
            signatures=_choice(env, "EVERLOOP_SIGNATURES", ("any", "verified")),
            keys_from_env=_flag(env, "EVERLOOP_KEYS_FROM_ENV"),
            keyed_api_bases=_list(env, "EVERLOOP_KEYED_API_BASES"),
            engine=_engine(env) or cls.engine,
            docker_host=env.get("EVERLOOP_DOCKER_HOST")
            or env.get("DOCKER_HOST")
            or cls.docker_host,
            image=env.get("EVERLOOP_IMAGE") or cls.image,
            kubernetes_namespace=env.get("EVERLOOP_KUBERNETES_NAMESPACE")
            or cls.kubernetes_namespace,
            kubernetes_storage_class=env.get("EVERLOOP_KUBERNETES_STORAGE_CLASS") or None,
            kubernetes_volume_size=env.get("EVERLOOP_KUBERNETES_VOLUME_SIZE")
            or cls.kubernetes_volume_size,
            kubernetes_runtime_class=env.get("EVERLOOP_KUBERNETES_RUNTIME_CLASS") or None,
            kubeconfig=env.get("EVERLOOP_KUBECONFIG") or env.get("KUBECONFIG") or None,
            keyring=_keyring(env),
            sandbox=SandboxSettings.from_env(env),
            volumes_dir=_volumes_dir(env),
            files_may_be_lost=_flag(env, "EVERLOOP_FILES_MAY_BE_LOST"),
            retention_days=_days(env, "EVERLOOP_RETENTION_DAYS"),
            receipt_days=_days(env, "EVERLOOP_RECEIPT_DAYS"),
            webhook=WebhookSettings.from_env(env, api_url=f"http://{api_host}:{api_port}"),
            email=EmailSettings.from_env(env, api_url=f"http://{api_host}:{api_port}"),
        )


def _engine(env: Mapping[str, str]) -> str | None:
    engine = _choice(env, "EVERLOOP_ENGINE", ENGINES)
    if engine not in (None, "bubblewrap") and _flag(env, "EVERLOOP_VOLUME_IMAGES"):
        raise ValueError(
            f"EVERLOOP_VOLUME_IMAGES=1 cannot be used with EVERLOOP_ENGINE={engine}: disk images "
            "are of the engine bubblewrap"
        )
    return engine


def _keyring(env: Mapping[str, str]) -> str | None:
    text = env.get("EVERLOOP_KEYRING") or None
    if text is not None and text.startswith(KMS_PREFIX):
        if not KMS_KEY_ARN.fullmatch(text.removeprefix(KMS_PREFIX)):
            raise ValueError(
                f"EVERLOOP_KEYRING begins with {KMS_PREFIX} and must go on with the ARN of a KMS "
                "key, arn:aws:kms:<region>:<account>:key/<id>; an alias does not do"
            )
    return text


def _volumes_dir(env: Mapping[str, str]) -> Path | None:
    text = env.get("EVERLOOP_VOLUMES_DIR")
    if not text:
        return None
    if not env.get("EVERLOOP_HOST_ID"):
        raise ValueError(
            "EVERLOOP_VOLUMES_DIR needs EVERLOOP_HOST_ID, which tells this machine's sandbox host "
            "from the others that share the volumes"
        )
    if _flag(env, "EVERLOOP_VOLUME_IMAGES"):
        raise ValueError(
            "EVERLOOP_VOLUMES_DIR cannot be used with EVERLOOP_VOLUME_IMAGES=1: a disk image must "
            "not be mounted by two machines"
        )
    return Path(text).absolute()


def _days(env: Mapping[str, str], name: str) -> int | None:
    return _whole(env, name, 0, 1, 36500) if env.get(name) else None


def _url(env: Mapping[str, str], name: str) -> str | None:
    text = env.get(name)
    if text is not None and not text.startswith(("http://", "https://")):
        raise ValueError(f"{name} must begin with http:// or https://, not {text!r}")
    return text

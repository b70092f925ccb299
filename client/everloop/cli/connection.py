"""Which API a command speaks to, and as whom."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from everloop.cli.errors import CommandError, UsageError
from everloop.cli.options import DEFAULT_REGION

CONTROL_VARIABLE = "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL"
DATA_VARIABLE = "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE"
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Connection:
    """Where the two services are.

    Attributes:
        control_url: address of `bedrock-agentcore-control`.
        data_url: address of `bedrock-agentcore`.
        region: the region to sign for.
    """

    control_url: str
    data_url: str
    region: str

    @property
    def is_local(self) -> bool:
        """Whether the development credentials do: the API is on this machine."""
        return all(
            urlsplit(url).hostname in LOOPBACK_HOSTS for url in (self.control_url, self.data_url)
        )

    def check_may_carry_token(self) -> None:
        """See that nobody on the way can read a bearer token.

        Raises:
            UsageError: it would go in the clear to another machine.
        """
        parts = urlsplit(self.data_url)
        if parts.scheme != "https" and parts.hostname not in LOOPBACK_HOSTS:
            raise UsageError(
                f"a bearer token is not sent over http to another machine: {self.data_url}; "
                "use https"
            )


def connect(
    *,
    endpoint_url: str | None,
    region: str | None,
    data_dir: Path,
    env: Mapping[str, str] = os.environ,
) -> Connection:
    """Find the API: by the option, else by the environment, else the `everloop dev` that runs.

    Raises:
        CommandError: none of them names one.
        DevError: `dev.json` cannot be read.
    """
    wanted_region = region or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    if endpoint_url:
        if urlsplit(endpoint_url).scheme not in ("http", "https"):
            raise CommandError(
                f"--endpoint-url must begin with http:// or https://: {endpoint_url}"
            )
        return Connection(endpoint_url, endpoint_url, wanted_region or DEFAULT_REGION)
    control, data = env.get(CONTROL_VARIABLE), env.get(DATA_VARIABLE)
    if control or data:
        either = control or data or ""
        return Connection(control or either, data or either, wanted_region or DEFAULT_REGION)
    return _from_dev(data_dir, region)


def _from_dev(data_dir: Path, region: str | None) -> Connection:
    from everloop.dev import ports
    from everloop.dev.layout import DataDir
    from everloop.dev.state import running

    layout = DataDir.at(data_dir)
    state = running(layout)
    if state is None or ports.API not in state.addresses:
        raise CommandError(
            f"no API to speak to: everloop dev does not run on {layout.root}. Start it, or give "
            f"--endpoint-url, or set {DATA_VARIABLE}"
        )
    api = state.addresses[ports.API]
    return Connection(api, api, region or state.region)

"""What stands on an operator's machines for names that only AWS can resolve.

A JSON file, the same for the API and for every sandbox host:

    {"accessPoints": {"arn:aws:elasticfilesystem:...": {"directory": "/srv/shared/reports",
                                                        "claim": "reports"}},
     "images": {"public.ecr.aws/acme/agent:1": "/srv/images/agent"},
     "subnets": {"subnet-0123456789abcdef0": ["10.20.0.0/16"]}}
"""

import re
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, field_validator, model_validator

from contracts.base import WireValue
from contracts.sandbox_settings import check_network

#: A name of an object of Kubernetes, as RFC 1123 has those of hosts.
_CLAIM = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
#: A host's name or address, without a port.
_SERVER = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9.:]{0,251}[A-Za-z0-9])?")


class NfsExport(WireValue):
    """An export of an NFS server, which the nodes of a cluster mount.

    Attributes:
        server: its name or address.
        path: of the export.
    """

    server: str
    path: str

    @field_validator("server")
    @classmethod
    def _check_server(cls, server: str) -> str:
        if not _SERVER.fullmatch(server):
            raise ValueError(f"must be a host's name or address, not {server[:80]!r}")
        return server

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        return _absolute(path)


class SharedFiles(WireValue):
    """What stands for an EFS or S3 Files access point.

    Attributes:
        directory: on every sandbox host, an NFS mount or a synced folder, for bubblewrap and
            docker.
        claim: a PersistentVolumeClaim in the namespace of environments, for kubernetes.
        nfs: an export that nodes mount, for kubernetes.
        read_only: whether commands may only read it.
    """

    directory: str | None = None
    claim: str | None = None
    nfs: NfsExport | None = None
    read_only: bool = False

    @field_validator("directory")
    @classmethod
    def _check_directory(cls, directory: str | None) -> str | None:
        return directory and _absolute(directory)

    @field_validator("claim")
    @classmethod
    def _check_claim(cls, claim: str | None) -> str | None:
        if claim is not None and not _CLAIM.fullmatch(claim):
            raise ValueError(f"must be the name of a PersistentVolumeClaim, not {claim[:80]!r}")
        return claim

    @model_validator(mode="after")
    def _check_some(self) -> Self:
        if self.claim is not None and self.nfs is not None:
            raise ValueError("may have a claim or an nfs export, not both")
        if not (self.directory or self.claim or self.nfs):
            raise ValueError("must have a directory, a claim or an nfs export")
        return self

    def serves(self, engine: str) -> bool:
        """Whether environments of this kind can have it."""
        if engine == "kubernetes":
            return self.claim is not None or self.nfs is not None
        return self.directory is not None


def wanted_by(engine: str) -> str:
    """What an access point must be mapped to for environments of this kind."""
    return "a claim or an nfs export" if engine == "kubernetes" else "a directory"


class OperatorMap(WireValue):
    """Directories, claims and networks by the names that requests have for them.

    Attributes:
        access_points: by ARN.
        images: root file systems by container URI, exactly as requests write it.
        subnets: private networks by subnet id.
    """

    access_points: dict[str, SharedFiles] = Field(default_factory=dict[str, SharedFiles])
    images: dict[str, str] = Field(default_factory=dict[str, str])
    subnets: dict[str, tuple[str, ...]] = Field(default_factory=dict[str, tuple[str, ...]])

    @field_validator("images")
    @classmethod
    def _check_images(cls, images: dict[str, str]) -> dict[str, str]:
        for directory in images.values():
            _absolute(directory)
        return images

    @field_validator("subnets")
    @classmethod
    def _check_subnets(cls, subnets: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, networks in subnets.items():
            for network in networks:
                check_network(network, name)
        return subnets

    @classmethod
    def read(cls, text: str | bytes, source: str) -> "OperatorMap":
        """Read the file's JSON.

        Raises:
            ValueError: it is not such a map; the message names the source and the first fault.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"])
            raise ValueError(f"{source}: {where or 'the file'}: {first['msg']}") from None


def _absolute(directory: str) -> str:
    if not Path(directory).is_absolute() or ".." in Path(directory).parts:
        raise ValueError(f"must be an absolute path without .., not {directory!r}")
    return directory

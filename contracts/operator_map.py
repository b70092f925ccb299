"""What stands on an operator's machines for names that only AWS can resolve.

A JSON file, the same for the API and for every sandbox host:

    {"accessPoints": {"arn:aws:elasticfilesystem:...": {"directory": "/srv/shared/reports"}},
     "images": {"public.ecr.aws/acme/agent:1": "/srv/images/agent"},
     "subnets": {"subnet-0123456789abcdef0": ["10.20.0.0/16"]}}
"""

from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from contracts.base import WireValue
from contracts.sandbox_settings import check_network


class SharedDirectory(WireValue):
    """A directory of the host for an EFS or S3 Files access point: an NFS mount, a synced folder.

    Attributes:
        directory: where it is on every sandbox host.
        read_only: whether commands may only read it.
    """

    directory: str
    read_only: bool = False

    @field_validator("directory")
    @classmethod
    def _check(cls, directory: str) -> str:
        return _absolute(directory)


class OperatorMap(WireValue):
    """Directories and networks by the names that requests have for them.

    Attributes:
        access_points: by ARN.
        images: root file systems by container URI, exactly as requests write it.
        subnets: private networks by subnet id.
    """

    access_points: dict[str, SharedDirectory] = Field(default_factory=dict[str, SharedDirectory])
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

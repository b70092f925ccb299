"""The token vault: API-key credential providers, access keys, and the ARNs that name them.

Shapes and grammars are those of botocore's `bedrock-agentcore-control` service model.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime

#: AWS makes one vault in each account and region, and calls it so.
TOKEN_VAULT = "default"

API_KEY_PROVIDER_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):bedrock-agentcore:(?P<region>[a-z0-9-]+)"
    r":(?P<account>[0-9]{12}):token-vault/(?P<vault>[a-zA-Z0-9.-]+)"
    r"/apikeycredentialprovider/(?P<name>[a-zA-Z0-9._-]+)"
)

#: A key of AWS's Key Management Service, as `KmsKeyArn` has it; never an alias.
KMS_KEY_ARN = re.compile(
    r"arn:aws(?:|-cn|-us-gov):kms:(?P<region>[a-zA-Z0-9-]+):(?P<account>[0-9]{12})"
    r":key/[a-zA-Z0-9-]{36}"
)
#: What `EVERLOOP_KEYRING` begins with when the master key is in KMS.
KMS_PREFIX = "kms:"


@dataclass(frozen=True)
class ApiKeyProviderArn:
    """An Amazon Resource Name of an API-key credential provider."""

    region: str
    account: str
    name: str
    vault: str = TOKEN_VAULT
    partition: str = "aws"

    def __str__(self) -> str:
        """The ARN in the form that a harness's `apiKeyArn` takes."""
        return (
            f"arn:{self.partition}:bedrock-agentcore:{self.region}:{self.account}"
            f":token-vault/{self.vault}/apikeycredentialprovider/{self.name}"
        )

    @classmethod
    def parse(cls, text: str) -> "ApiKeyProviderArn":
        """Read an ARN.

        Raises:
            ValueError: the text is not the ARN of an API-key credential provider.
        """
        match = API_KEY_PROVIDER_ARN.fullmatch(text)
        if match is None:
            raise ValueError(f"not the ARN of an API-key credential provider: {text!r}")
        return cls(**match.groupdict())


@dataclass(frozen=True)
class ApiKeyProviderRecord:
    """An API-key credential provider, without the key.

    Attributes:
        arn: names it.
        secret_id: the part of its secret's ARN that no other provider has or had.
        created_at: UTC.
        updated_at: when its key was last replaced, UTC.
    """

    arn: ApiKeyProviderArn
    secret_id: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class VaultChoice:
    """The KMS key that SetTokenVaultCMK chose for the vault.

    Attributes:
        kms_key_arn: the key; None after ResetTokenVaultKeyMaterial, for the configured one.
        modified_at: when it was chosen, UTC.
    """

    kms_key_arn: str | None
    modified_at: datetime


@dataclass(frozen=True)
class AccessKeyRecord:
    """An access key that callers sign requests with, without its secret.

    Attributes:
        access_key_id: the public half.
        account: the twelve-digit account that it speaks for.
        label: what its maker calls it.
        created_at: UTC.
        expires_at: from when on it is refused, UTC; None for never.
    """

    access_key_id: str
    account: str
    label: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True)
class AccessKey:
    """An access key with its secret; the secret shows in no representation."""

    record: AccessKeyRecord
    secret: str = field(repr=False)

"""Where the vault's master keys are, as the settings say."""

from contracts.settings import Settings
from contracts.vault import KMS_PREFIX
from store.vault_keyring import RingSource
from store.vault_kms_ring import KmsRing

Ring = RingSource | KmsRing


def ring_of(settings: Settings) -> Ring:
    """The ring of a process: in KMS, in the environment, or in the data directory."""
    given = settings.keyring
    if given is None or not given.startswith(KMS_PREFIX):
        return RingSource.of(settings)
    before = RingSource(settings.data_dir / "keyring.json")
    return KmsRing(given.removeprefix(KMS_PREFIX), before)

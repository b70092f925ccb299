"""Whether an ARN that a caller gives is of this Everloop's account and Region."""

from contracts.errors import AwsError, ServiceError
from contracts.ids import HarnessArn
from contracts.settings import Settings


def check_own(arn: HarnessArn, settings: Settings) -> None:
    """Refuse what belongs elsewhere.

    Raises:
        ServiceError: AccessDeniedException for another account, ResourceNotFoundException for
            another Region.
    """
    if arn.account != settings.account:
        raise ServiceError(
            AwsError.ACCESS_DENIED,
            f"{arn} belongs to account {arn.account}; this Everloop serves {settings.account}",
        )
    if arn.region != settings.region:
        raise ServiceError(
            AwsError.NOT_FOUND,
            f"{arn} is in region {arn.region}; this Everloop serves {settings.region}",
        )

"""Who sends a request, where people decide.

With signatures verified, the access key says it: `everloop keys create --user ada --role finance`.
On loopback, where any signature is accepted, the request's own headers do; whoever may run programs
on this machine may be anybody.
"""

from collections.abc import Mapping

from contracts.approvals import NAME
from contracts.decisions import Principal
from contracts.errors import AwsError, ServiceError, invalid
from contracts.vault import AccessKeyRecord

USER_HEADER = "x-everloop-user"
#: Roles, separated by commas.
ROLES_HEADER = "x-everloop-roles"

#: Who decides on loopback unless the header says otherwise.
LOCAL_USER = "local"

MAX_ROLES = 50


def local_principal(headers: Mapping[str, str]) -> Principal:
    """The principal that a request on loopback names.

    Raises:
        ServiceError: ValidationException naming the header.
    """
    return named_principal(headers, USER_HEADER, ROLES_HEADER)


def named_principal(given: Mapping[str, str], user_field: str, roles_field: str) -> Principal:
    """The principal that two fields name: a user, `local` when absent, and roles with commas.

    Raises:
        ServiceError: ValidationException naming the field.
    """
    user = given.get(user_field, LOCAL_USER)
    roles = tuple(role.strip() for role in given.get(roles_field, "").split(",") if role.strip())
    if not NAME.fullmatch(user):
        raise invalid(user_field, f"must match {NAME.pattern}")
    if len(roles) > MAX_ROLES or not all(NAME.fullmatch(role) for role in roles):
        raise invalid(roles_field, f"must be at most {MAX_ROLES} names that match {NAME.pattern}")
    return Principal(user, roles)


def key_principal(key: AccessKeyRecord) -> Principal:
    """The principal that an access key stands for; a key without a user stands for itself."""
    return Principal(key.user or key.access_key_id, key.roles)


def check_names(principal: Principal, headers: Mapping[str, str]) -> None:
    """See that the headers of a signed request name nobody else.

    Raises:
        ServiceError: AccessDeniedException.
    """
    if headers.get(USER_HEADER, principal.user) != principal.user or ROLES_HEADER in headers:
        raise ServiceError(
            AwsError.ACCESS_DENIED,
            f"The access key decides as {principal.user}; {USER_HEADER} and {ROLES_HEADER} are "
            "taken on loopback without verified signatures only.",
        )

"""What can go wrong, in one place.

Two audiences. Callers on the wire get `ServiceError`: AWS's error name, a message that names the
field, what is wrong and what is allowed. Temporal gets `ErrorType`: stable strings that land in
workflow history, so they are a public contract, and never carry text from a model, a sandbox or a
client.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class ErrorType(StrEnum):
    """`ApplicationError.type` values that appear in workflow history."""

    #: An update was refused because another invocation runs in the session.
    SESSION_BUSY = "SessionBusy"
    #: The provider refused the call for good; its words are in the store, not here.
    MODEL_REFUSED = "ModelRefused"
    #: The provider failed in a way that may pass: overload, rate limit, time-out, cut stream.
    MODEL_UNAVAILABLE = "ModelUnavailable"
    #: A writer found that a later attempt of its step had begun.
    STALE_ATTEMPT = "StaleAttempt"
    #: A tool call came to a sandbox host whose session another one has taken over.
    ELSEWHERE = "Elsewhere"
    #: The database, the sandbox or another part of ours failed; retried.
    MACHINERY = "Machinery"


class ModelFault(StrEnum):
    """Why a model call did not succeed; the code that goes into workflow history."""

    #: No key, no credentials or no server for it in this deployment.
    NOT_CONFIGURED = "not_configured"
    #: The provider did not accept the key or credentials.
    NOT_AUTHORISED = "not_authorised"
    #: The provider does not know the model.
    NOT_FOUND = "not_found"
    #: The provider does not accept the request, or will not answer it.
    REFUSED = "refused"
    #: The conversation is longer than the model can read.
    CONTEXT_WINDOW = "context_window"
    #: Rate limit; passes.
    RATE_LIMITED = "rate_limited"
    #: The provider is overloaded, unreachable or broken; may pass.
    UNAVAILABLE = "unavailable"
    #: The provider did not answer in time; may pass.
    TIMED_OUT = "timed_out"
    #: The stream ended before the provider said that it was done; may pass.
    CUT_STREAM = "cut_stream"

    @property
    def passes(self) -> bool:
        """Whether the same call may succeed later."""
        return self in (
            ModelFault.RATE_LIMITED,
            ModelFault.UNAVAILABLE,
            ModelFault.TIMED_OUT,
            ModelFault.CUT_STREAM,
        )


class AwsError(StrEnum):
    """Error names of the service models; each one's HTTP status is in the model."""

    VALIDATION = "ValidationException"
    ACCESS_DENIED = "AccessDeniedException"
    CONFLICT = "ConflictException"
    NOT_FOUND = "ResourceNotFoundException"
    QUOTA = "ServiceQuotaExceededException"
    THROTTLING = "ThrottlingException"
    INTERNAL = "InternalServerException"
    RUNTIME_CLIENT = "RuntimeClientError"
    #: Not modelled: an operation of AWS's that is not served here. HTTP 501.
    NOT_IMPLEMENTED = "NotImplementedException"
    #: Of Signature Version 4, common to all of AWS's services and so in no model. HTTP 403.
    MISSING_AUTHENTICATION = "MissingAuthenticationTokenException"
    INCOMPLETE_SIGNATURE = "IncompleteSignatureException"
    INVALID_SIGNATURE = "InvalidSignatureException"
    UNRECOGNIZED_CLIENT = "UnrecognizedClientException"
    EXPIRED_TOKEN = "ExpiredTokenException"
    #: A bearer token is missing or not valid. HTTP 401; in the models, but not of InvokeHarness.
    UNAUTHORIZED = "UnauthorizedException"


class Reason(StrEnum):
    """`ValidationExceptionReason`."""

    CANNOT_PARSE = "CannotParse"
    FIELD_VALIDATION_FAILED = "FieldValidationFailed"
    IDEMPOTENT_PARAMETER_MISMATCH = "IdempotentParameterMismatchException"
    EVENT_IN_OTHER_SESSION = "EventInOtherSession"
    RESOURCE_CONFLICT = "ResourceConflict"


@dataclass(frozen=True)
class FieldError:
    """One entry of `fieldList`: a member's path in the request and what is wrong with it."""

    name: str
    message: str


@dataclass(frozen=True)
class ErrorDetail:
    """An error as a value, to be stored or sent."""

    error: AwsError
    message: str
    reason: Reason | None = None
    fields: tuple[FieldError, ...] = field(default_factory=tuple)


class EverloopError(Exception):
    """Base of every error that Everloop raises on purpose."""


class ServiceError(EverloopError):
    """An error that a caller on the wire gets as it stands."""

    def __init__(
        self,
        error: AwsError,
        message: str,
        *,
        reason: Reason | None = None,
        fields: tuple[FieldError, ...] = (),
    ) -> None:
        """Make an error answer.

        Args:
            error: AWS's name of it, which decides the HTTP status.
            message: what is wrong and what is allowed, for a person.
            reason: for a ValidationException; its default is FieldValidationFailed.
            fields: for a ValidationException, the members at fault.
        """
        super().__init__(message)
        if error is AwsError.VALIDATION and reason is None:
            reason = Reason.FIELD_VALIDATION_FAILED
        self.detail = ErrorDetail(error, message, reason, fields)


class TokenRefused(ServiceError):
    """A bearer token was missing or not let in; the answer says how to ask for another."""

    def __init__(self, error: AwsError, message: str, *, challenge: str) -> None:
        """Make the refusal.

        Args:
            error: AWS's name of it.
            message: what is wrong, without what the token holds.
            challenge: what `WWW-Authenticate` says (RFC 6750, section 3).
        """
        super().__init__(error, message)
        self.challenge = challenge

    def with_challenge(self, challenge: str) -> "TokenRefused":
        """The same refusal with another challenge."""
        return TokenRefused(self.detail.error, self.detail.message, challenge=challenge)


def invalid(name: str, message: str, *, reason: Reason | None = None) -> ServiceError:
    """A ValidationException about one member of the request.

    Args:
        name: the member's path, as `tools[0].config`.
        message: what is wrong and what is allowed.
        reason: the modelled reason; FieldValidationFailed when omitted.
    """
    return ServiceError(
        AwsError.VALIDATION,
        f"{name}: {message}",
        reason=reason,
        fields=(FieldError(name, message),),
    )


class StaleAttempt(EverloopError):
    """A writer's attempt at a step is no longer the newest; it must stop and write nothing more."""


class ConfigGone(EverloopError):
    """A configuration went with the last session that used it; whoever needs it stores it anew."""


class ModelFailed(EverloopError):
    """A model call did not succeed; the message is for the user and holds no secrets."""

    def __init__(
        self, message: str, *, fault: ModelFault, retry_after_s: float | None = None
    ) -> None:
        """Describe a failed call.

        Args:
            message: what the user reads, secrets already taken out.
            fault: why, and with it whether a retry may help.
            retry_after_s: how long the provider asks to wait.
        """
        super().__init__(message)
        self.fault = fault
        self.retry_after_s = retry_after_s


class SecretUnreadable(EverloopError):
    """A value of the vault cannot be decrypted; the message names it, and never its content."""


class KeyRingFault(EverloopError):
    """There is no usable key ring; the message says where it was looked for and how to mend it."""


class KeyRingAway(KeyRingFault):
    """The key ring cannot be reached now; the same may succeed later."""


class KeyRefused(KeyRingFault):
    """KMS does not let a key be used; `code` is KMS's name of the reason."""

    def __init__(self, message: str, code: str) -> None:
        """Hold KMS's code beside the message."""
        super().__init__(message)
        self.code = code


class DatabaseNotReady(EverloopError):
    """The database cannot be reached or has no schema; the message says how to mend it."""


class TooLarge(EverloopError):
    """A value is larger than what is kept; the message says how large it may be."""


class EnvironmentGone(EverloopError):
    """An environment is confirmed to have ended; what ran in it has an unknown outcome."""


class EnvironmentUnavailable(EverloopError):
    """No environment can be had here; the message says why and how to mend it."""


class EnvironmentRefused(EverloopError):
    """A running environment did not do what it was asked; `code` is one of agentd's protocol."""

    def __init__(self, code: str, message: str) -> None:
        """Hold agentd's code and words."""
        super().__init__(message)
        self.code = code

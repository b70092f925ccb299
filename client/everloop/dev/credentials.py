"""The credentials of the development API: it accepts any signature, on loopback only."""

#: Not a secret: it names itself, and nothing but a development API accepts it.
ACCESS_KEY_ID = "everloop-dev"
SECRET_ACCESS_KEY = "everloop-dev-is-not-a-secret"

#: Variables that name an identity; they are set or unset together.
CREDENTIAL_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
)

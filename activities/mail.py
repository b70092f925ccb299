"""The mail that carries a notice, and the way to its server.

Everything in it that others wrote is on one line and escaped. Its id follows from the notice's, so
that who gets a mail twice can tell; the mails about one decision are one thread.
"""

import contextlib
import html
import smtplib
import ssl
import time
from collections.abc import Callable
from email import policy
from email.message import EmailMessage
from email.utils import parseaddr

from activities.told import Missed, lines_of, url_of
from contracts.email_settings import EmailSettings
from contracts.notices import NoticeRecord

#: Seconds from the connection to the server's word that it has the mail.
MAIL_S = 20.0
#: Of it for the connection, with one of the server's addresses.
CONNECT_S = 10.0
#: Characters of a subject, which mail programs cut anyway.
SUBJECT_CHARACTERS = 120
#: Servers' answers from here on will be the same the next time.
PERMANENT = 500
#: Answers from here on are refusals.
REFUSED = 400


def mail_of(found: NoticeRecord, settings: EmailSettings) -> EmailMessage:
    """The mail that carries a notice.

    Args:
        found: the notice, with its recipient.
        settings: who sends it, and what it tells.
    """
    lines = [on_one_line(line) for line in lines_of(found, arguments=settings.arguments)]
    url = url_of(found, settings.public_url)
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"] = settings.sender
    mail["To"] = found.recipient or ""
    mail["Subject"] = lines[0][:SUBJECT_CHARACTERS]
    mail["Date"] = found.at
    mail["Message-ID"] = f"<{found.id}@{settings.domain}>"
    mail["References"] = f"<{found.decision.id}@{settings.domain}>"
    # No out-of-office answers.
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content("\n".join([*lines, "", url, ""]))
    shown = "<br>\n".join(html.escape(line) for line in lines)
    link = html.escape(url)
    mail.add_alternative(f'<p>{shown}</p>\n<p><a href="{link}">{link}</a></p>\n', subtype="html")
    return mail


def on_one_line(text: str) -> str:
    """Text in which nothing ends a line or turns its direction."""
    return "".join(char if char.isprintable() else " " for char in text)


def send_mail(mail: EmailMessage, settings: EmailSettings) -> None:
    """Bring a mail to the server; blocks for `MAIL_S` seconds at most.

    Raises:
        Missed: the server does not have it.
    """
    deadline = time.monotonic() + MAIL_S
    try:
        server = _connect(settings)
    except (OSError, smtplib.SMTPException) as error:
        raise Missed(_why("connect", error)) from None
    step = _Steps(server, deadline)
    try:
        step("EHLO", server.ehlo)
        if not settings.tls and (server.has_extn("starttls") or not settings.is_local):
            step("STARTTLS", lambda: server.starttls(context=ssl.create_default_context()))
            step("EHLO", server.ehlo)
        if settings.user is not None:
            server.user, server.password = settings.user, settings.password
            step("AUTH", lambda: _log_in(server))
        sender = parseaddr(settings.sender)[1]
        step("MAIL", lambda: server.mail(sender), of_mail=True)
        step("RCPT", lambda: server.rcpt(mail["To"]), of_mail=True)
        step("DATA", lambda: server.data(mail.as_bytes()), of_mail=True)
        with contextlib.suppress(Missed):
            # The server has the mail; its word of parting tells nothing.
            step("QUIT", server.quit)
    finally:
        server.close()


class _Steps:
    def __init__(self, server: smtplib.SMTP, deadline: float) -> None:
        self._server = server
        self._deadline = deadline

    def __call__(
        self, name: str, do: Callable[[], tuple[int, bytes]], *, of_mail: bool = False
    ) -> None:
        """One command; what is refused for good of the mail itself is not tried again."""
        left_s = self._deadline - time.monotonic()
        if left_s <= 0 or self._server.sock is None:
            raise Missed(f"no answer to {name} within {MAIL_S:.0f} s")
        self._server.sock.settimeout(left_s)
        try:
            answer = do()
        except smtplib.SMTPResponseException as error:
            for_good = of_mail and error.smtp_code >= PERMANENT
            raise Missed(_why(name, error), for_good=for_good) from None
        except (OSError, smtplib.SMTPException) as error:
            raise Missed(_why(name, error)) from None
        if answer[0] >= REFUSED:
            for_good = of_mail and answer[0] >= PERMANENT
            raise Missed(f"answered SMTP {answer[0]} to {name}", for_good=for_good)


def _connect(settings: EmailSettings) -> smtplib.SMTP:
    # The name of this machine is nobody's business.
    name = "localhost"
    if settings.tls:
        return smtplib.SMTP_SSL(
            settings.host,
            settings.port,
            local_hostname=name,
            timeout=CONNECT_S,
            context=ssl.create_default_context(),
        )
    return smtplib.SMTP(settings.host, settings.port, local_hostname=name, timeout=CONNECT_S)


def _log_in(server: smtplib.SMTP) -> tuple[int, bytes]:
    """Log in by one mechanism: servers hang up on those who try one after the other."""
    offered = str(server.esmtp_features.get("auth", "")).upper().split()
    if "PLAIN" in offered:
        return server.auth("PLAIN", server.auth_plain)
    if "LOGIN" in offered:
        return server.auth("LOGIN", server.auth_login)
    raise smtplib.SMTPNotSupportedError


def _why(name: str, error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return f"answered SMTP {error.smtp_code} to {name}"
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return f"the server does not offer {name}"
    return f"no answer to {name}: {type(error).__name__}"

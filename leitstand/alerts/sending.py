# SPDX-License-Identifier: Apache-2.0
"""Tells an alert to one receiver: a signed webhook, or a mail. Blocking, within limits; called from threads.

A webhook is a POST of JSON with `Leitstand-Alert: ID EVENT`, by which a receiver drops what it has seen, and
`Leitstand-Signature: t=SECONDS,v1=HEX`: HMAC-SHA256 over `SECONDS.BODY` with the secret of the hook. It was told if the
answer is 2xx. Secrets are read anew for every call.
"""

import hashlib
import hmac
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any, Final

import msgspec

from leitstand.alerts.deriving import Alert
from leitstand.alerts.settings import Mail, Sink, Webhook
from leitstand.alerts.words import words

TIMEOUT_S: Final = 10.0
SECRET_MAX: Final = 4_096


class NotTold(Exception):
    """The receiver does not have it; a line that says why, without any secret."""


def tell(sink: Sink, alert: Alert, what: str, *, now_us: int, german: bool) -> str:
    """The receiver has it on return; of several somebody has, and the line says who was refused. NotTold."""
    try:
        if isinstance(sink, Webhook):
            _post(sink, alert, what, now_us)
            return ""
        return _mail(sink, alert, what, german=german)
    except (OSError, smtplib.SMTPException, ValueError) as error:
        raise NotTold(f"{type(error).__name__}: {error}") from error


def body_of(alert: Alert, what: str) -> dict[str, Any]:
    """What a webhook carries. Times in µs since 1970, UTC."""
    texts = {
        language: words(alert, german=german)._asdict() for language, german in (("en", False), ("de", True))
    }
    return {
        "id": alert.id,
        "event": what,
        "kind": alert.kind,
        "severity": alert.severity,
        "subject": alert.subject,
        "opened_us": alert.opened_us,
        "closed_us": alert.closed_us or None,
        "about": alert.about,
        "texts": texts,
    }


def signature(secret: bytes, seconds: int, body: bytes) -> str:
    """The header that shows who sent it."""
    digest = hmac.new(secret, str(seconds).encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"


def _post(hook: Webhook, alert: Alert, what: str, now_us: int) -> None:
    import httpx2  # takes a while, and most control planes have no webhooks

    body = msgspec.json.encode(body_of(alert, what))
    headers = {
        "Content-Type": "application/json",
        "Leitstand-Alert": f"{alert.id} {what}",
        "Leitstand-Signature": signature(_secret(hook), now_us // 1_000_000, body),
    }
    try:
        answer = httpx2.post(
            hook.url,
            content=body,
            headers=headers,
            timeout=TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
        )
    except httpx2.HTTPError as error:
        raise NotTold(f"{type(error).__name__}: {error}") from error
    if not answer.is_success:
        raise NotTold(f"the receiver answered {answer.status_code}")


def _secret(sink: Webhook) -> bytes:
    secret = sink.secret_file.read_bytes()[:SECRET_MAX].strip()
    if not secret:
        raise ValueError(f"{sink.secret_file} holds no secret")
    return secret


def _mail(sink: Mail, alert: Alert, what: str, *, german: bool) -> str:
    """Who was refused, where somebody was not; SMTPRecipientsRefused if all were."""
    said = words(alert, german=german)
    message = EmailMessage()
    message["From"], message["To"] = sink.sender, ", ".join(sink.to)
    message["Subject"] = f"[leitstand] {said.title}"
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{alert.id}.{what}@leitstand>"
    message["Leitstand-Alert"] = f"{alert.id} {what}"
    message.set_content("\n\n".join(part for part in (said.title, said.cause, said.remedy) if part) + "\n")
    context = ssl.create_default_context()
    opened = (
        smtplib.SMTP_SSL(sink.host, sink.port, timeout=TIMEOUT_S, context=context)
        if sink.tls == "tls"
        else smtplib.SMTP(sink.host, sink.port, timeout=TIMEOUT_S)
    )
    with opened as server:
        if sink.tls == "starttls":
            server.starttls(context=context)
        if sink.password_file is not None:
            server.login(sink.user, sink.password_file.read_text().strip())
        refused = server.send_message(message)
    return f"the mail server refused {', '.join(refused)}" if refused else ""

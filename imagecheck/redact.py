"""Secrets never leave: every line that is shown or saved passes here.

Two nets: what was learned (exact values, also URL-quoted, JSON-escaped and base64-encoded), and what a secret
looks like (passwords in URLs, tokens, keys). Doubt is decided for hiding: evidence with a hole beats a leak.
Not covered: base64 that was wrapped over several lines, and encodings not named here.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import threading
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

HIDDEN = "***"
SHORTEST = 4  # characters; anything shorter would blank out ordinary words
_SHORTEST_BASE64 = 6  # characters of base64 that only this secret explains

_lock = threading.Lock()
_secrets: set[str] = set()
_learned: re.Pattern[str] | None = None

# Values in configuration files and structures. The name of the key is kept, so that evidence stays readable.
_KEY = (
    r"[\w.-]*(?:passw(?:or)?d|passphrase|adminpass|admin_?pass|secret(?:_key)?|encr(?:yption|ypt)?_key|auth_token"
    r"|private_key|api_key|access_key|rpc_encr_key|password_hash|token)"
)
_QUOTE = r"\\?[\"']"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A whole key, or what is left of one in a log that was cut off.
    (
        re.compile(
            r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)"
            r"(?:.*?-----END [A-Z0-9 ]*PRIVATE KEY-----|(?:[A-Za-z0-9+/=\s]|\\[nr])*)",
            re.DOTALL,
        ),
        rf"\1{HIDDEN}",
    ),
    # scheme://user:password@host, greedily: an unquoted '@' or a second broker in the list must not end it early.
    (re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@\"'<>]*:)[^\s\"'<>]*@"), rf"\1{HIDDEN}@"),
    (re.compile(r"gAAAA[A-Za-z0-9_-]{16,}(?:={1,2}|%3[Dd])*"), HIDDEN),
    (re.compile(rf"(?i)\b((?:x-)?(?:auth|subject|service|storage)-token)({_QUOTE})?(\s*[:=]\s*)({_QUOTE})?[^\s\"'\\,;]+"),
     rf"\1\2\3\4{HIDDEN}"),
    (re.compile(rf"(?i)\b(authorization)({_QUOTE})?(\s*[:=]\s*)({_QUOTE})?(basic|bearer|digest)?(\s*)[^\s\"'\\,;]+"),
     rf"\1\2\3\4\5\6{HIDDEN}"),
    # password = anything up to the end of the line (oslo.config and my.cnf files).
    (re.compile(rf"(?im)^([ \t]*{_KEY}[ \t]*=[ \t]*)(?!{_QUOTE})\S[^\r\n]*"), rf"\1{HIDDEN}"),
    # "password": "x", 'password': 'x', password: x, PASSWORD=x in the middle of a line.
    (re.compile(rf"(?i)({_KEY}(?:{_QUOTE})?\s*[:=]\s*[bu]?\")(?:[^\"\\\r\n]|\\.)*"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)({_KEY}(?:{_QUOTE})?\s*[:=]\s*[bu]?')(?:[^'\\\r\n]|\\.)*"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)({_KEY}\\[\"']\s*[:=]\s*\\[\"'])[^\"'\\\r\n]*"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)({_KEY}(?:{_QUOTE})?[ \t]*[:=][ \t]*)(?!{_QUOTE}|[bu][\"'])[^\s\"'\\,;}}\])]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)(--?[\w-]*(?:password|token|secret)[ \t]+)(?!-)[^\s\"']+"), rf"\1{HIDDEN}"),
)  # fmt: skip


def _base64_forms(secret: bytes) -> Iterable[str]:
    """The secret encoded alone, and the part of it that is recognisable inside a longer encoded text."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(secret).decode()
        for before in range(3):  # its alignment to groups of three bytes is not known
            coded = encode(b"\0" * before + secret).decode().rstrip("=")
            head = (before * 8 + 5) // 6
            whole = (before + len(secret)) * 8 // 6
            core = coded[head:whole]
            if len(core) >= _SHORTEST_BASE64:
                yield core


def _forms(secret: str) -> Iterable[str]:
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    raw = secret.encode("utf-8", "surrogatepass")
    for quoted in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield quoted
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), quoted)
    yield from _base64_forms(raw)


def learn(secret: str) -> None:
    """From now on ``secret`` is hidden in every text, in this process.

    Surrounding white space is not part of it; values shorter than four characters are ignored, because hiding
    them would eat ordinary text.
    """
    global _learned
    secret = secret.strip()
    if len(secret) < SHORTEST:
        return
    with _lock:
        if secret in _secrets:
            return
        _secrets.add(secret)
        forms = {form for known in _secrets for form in _forms(known) if len(form) >= SHORTEST}
        # The longest first: a secret that contains another one is hidden whole.
        _learned = re.compile("|".join(re.escape(form) for form in sorted(forms, key=lambda f: (-len(f), f))))


def forget() -> None:
    """Forget everything that was learned (for tests)."""
    global _learned
    with _lock:
        _secrets.clear()
        _learned = None


def redact(text: str) -> str:
    """``text`` with every learned secret and everything that looks like one replaced by ``***``."""
    if _learned is not None:
        text = _learned.sub(HIDDEN, text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class Filter(logging.Filter):
    """Attach to a logging handler: the finished message, arguments included, is redacted."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = redact(record.getMessage())
        record.args = None
        if record.exc_info and record.exc_text is None:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        return True

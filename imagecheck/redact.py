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
# No pattern tries the same text again from each of its letters: a guest may print a word of megabytes.
_KEY = (
    r"(?:passw(?:or)?d|passphrase|adminpass|admin_?pass|secret(?:_key)?|encr(?:yption|ypt)?_key|auth_token"
    r"|private_key|api_key|access_key|rpc_encr_key|password_hash|token)"
)
_QUOTE = r"\\?[\"']"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"gAAAA[A-Za-z0-9_-]{16,}(?:={1,2}|%3[Dd])*"), HIDDEN),
    (re.compile(rf"(?i)\b((?:x-)?(?:auth|subject|service|storage)-token)({_QUOTE})?(\s*[:=]\s*)({_QUOTE})?[^\s\"'\\,;]+"),
     rf"\1\2\3\4{HIDDEN}"),
    (re.compile(rf"(?i)\b(authorization)({_QUOTE})?(\s*[:=]\s*)({_QUOTE})?(basic|bearer|digest)?(\s*)[^\s\"'\\,;]+"),
     rf"\1\2\3\4\5\6{HIDDEN}"),
    # password = anything up to the end of the line (oslo.config and my.cnf files).
    (re.compile(rf"(?im)^([ \t]*[\w.-]*{_KEY}[ \t]*=[ \t]*)(?!{_QUOTE})\S[^\r\n]*"), rf"\1{HIDDEN}"),
    # "password": "x", 'password': 'x', password: x, PASSWORD=x in the middle of a line.
    (re.compile(rf"(?i)({_KEY}(?:{_QUOTE})?\s*[:=]\s*[bu]?\")(?:[^\"\\\r\n]|\\.)*"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)({_KEY}(?:{_QUOTE})?\s*[:=]\s*[bu]?')(?:[^'\\\r\n]|\\.)*"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)({_KEY}\\[\"']\s*[:=]\s*\\[\"'])[^\"'\\\r\n]*"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)({_KEY}(?:{_QUOTE})?[ \t]*[:=][ \t]*)(?!{_QUOTE}|[bu][\"'])[^\s\"'\\,;}}\])]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)((?<![\w-])-[\w-]*(?:password|token|secret)[ \t]+)(?!-)[^\s\"']+"), rf"\1{HIDDEN}"),
)  # fmt: skip
_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----")
_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----")
_CUT_OFF = re.compile(r"(?:[A-Za-z0-9+/=\s]|\\[nr])*")
_URL = re.compile(r"://[^\s\"'<>]+")
_USER = re.compile(r"://[^/:@]*:")


def _without_keys(text: str) -> str:
    """Private keys hidden: whole ones, and what is left of one in a log that was cut off."""
    parts, at, whole = [], 0, True
    for begin in _BEGIN.finditer(text):
        if begin.start() < at:
            continue
        end = _END.search(text, begin.end()) if whole else None
        whole = end is not None
        parts += [text[at : begin.end()], HIDDEN]
        at = end.end() if end else cut.end() if (cut := _CUT_OFF.match(text, begin.end())) else begin.end()
    return "".join([*parts, text[at:]]) if parts else text


def _without_login(url: re.Match[str]) -> str:
    """scheme://user:password@host, up to the last '@': an unquoted one or a second broker must not end it early."""
    text = url[0]
    user, end = _USER.search(text), text.rfind("@")
    return text if user is None or end < user.end() else text[: user.end()] + HIDDEN + text[end:]


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
    text = _URL.sub(_without_login, _without_keys(text))
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

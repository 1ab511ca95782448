"""Secrets never leave: every line that is shown or saved passes here.

Two nets: what was learned (exact values; also quoted for a URL, a shell, HTML or JSON, in hexadecimal and in base64,
and wrapped over several lines), and what a secret looks like (passwords in URLs, tokens, keys). Base64 is looked
into, also base64 within base64: what holds a secret is hidden whole. Doubt is decided for hiding: evidence with a
hole beats a leak. Not covered: encodings not named here, and wrapped lines with a prefix of their own on each.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import logging
import re
import shlex
import threading
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"
SHORTEST = 4  # characters; anything shorter would blank out ordinary words
_SHORTEST_BASE64 = 6  # characters of base64 that only this secret explains
_SHORTEST_NAMED = 8  # characters of what only its name calls a secret: TOKEN=none must not eat a word
_SHORTEST_WRAPPED = 12  # characters of a secret that is looked for over the ends of lines
_DEPTH = 3  # user-data is base64, the files in it are base64, and one may be compressed
_UNPACKED = 1 << 20  # bytes of something compressed that are looked into

_lock = threading.RLock()  # held for moments only: a signal's handler comes in the middle of anything
_secrets: set[str] = set()
_known: set[str] = set()  # all forms of all secrets
_learned: re.Pattern[str] | None = None  # made when it is needed first
_wrapped: re.Pattern[str] | None = None

# Values in configuration files and structures. The name of the key is kept, so that evidence stays readable.
# No pattern tries the same text again from each of its letters: a guest may print a word of megabytes.
_KEY = (
    r"(?:passw(?:or)?d|passphrase|passcode|adminpass|admin_?pass|secret(?:_key)?|encr(?:yption|ypt)?_key|auth_token"
    r"|private_key|api_key|access_key|rpc_encr_key|password_hash|token)"
)
_QUOTE = r"\\?[\"']"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"gAAAA[A-Za-z0-9_-]{16,}(?:={1,2}|%3[Dd])*"), HIDDEN),
    # JSON Web Tokens: Keystone's JWS tokens and most registries' (RFC 7515, 3.1).
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), HIDDEN),
    # Hashes of passwords (crypt(5)); docker's config.json; SQL.
    (re.compile(r"\$(?:1|5|6|y|gy|7|2[abxy])\$[./A-Za-z0-9$,=]{12,}"), HIDDEN),
    (re.compile(rf"(\b(?:auth|identitytoken){_QUOTE}\s*:\s*{_QUOTE})[A-Za-z0-9+/=._-]{{8,}}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)(\bidentified\s{1,8}by\s{1,8}(?:password\s{1,8})?['\"])[^'\"\r\n]+"), rf"\1{HIDDEN}"),
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
    yield shlex.quote(secret).strip("'")
    yield secret.replace("'", "''")  # YAML and SQL
    yield html.escape(secret)
    yield html.escape(secret, quote=False)
    raw = secret.encode("utf-8", "surrogatepass")
    yield repr(raw)[2:-1]
    for quoted in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield quoted
        yield re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), quoted)
    yield raw.hex()
    yield raw.hex().upper()
    yield from _base64_forms(raw)


def learn(secret: str) -> None:
    """From now on ``secret`` is hidden in every text, in this process.

    Surrounding white space is not part of it; values shorter than four characters are ignored, because hiding
    them would eat ordinary text. Of a text of several lines (a private key) each long line is a secret as well.
    """
    global _learned
    secret = secret.strip()
    if len(secret) < SHORTEST:
        return
    lines = [line.strip() for line in secret.splitlines()]
    more = [line for line in lines if len(line) >= 2 * _SHORTEST_WRAPPED and "-----" not in line]
    with _lock:
        for one in {secret, *(more if len(lines) > 1 else ())} - _secrets:
            _secrets.add(one)
            _known.update(form for form in _forms(one) if len(form) >= SHORTEST)
            _learned = None


# Names whose values are secrets: of environment variables, and of the entries of clouds.yaml (keystoneauth1 plugins).
_NAMED = re.compile(
    r"(?i)passw(?:or)?d|passphrase|passcode|secret|(?<!no_)token(?!_endpoint)|credential$|(?:api|access|private|encr)_?key$"
)
_LOGIN = re.compile(r"://[^\s:@/]*:([^\s/]+)@")


def learn_named(table: Mapping[str, object]) -> None:
    """Learn the values of a table, and of tables in it, that their names call secrets (environment, clouds.yaml);
    and the passwords of URLs in it."""
    for name, value in table.items():
        if isinstance(value, Mapping):
            learn_named(value)
        elif isinstance(value, str):
            if _NAMED.search(name) and len(value) >= _SHORTEST_NAMED and not value.startswith(("/", "~", "http")):
                learn(value)
            learn_urls(value)


def learn_urls(text: str) -> None:
    """Learn the passwords of all URLs in ``text``, as they stand there and unquoted."""
    for found in _LOGIN.findall(text):
        # Several brokers stand in one URL: user:password@host,user:password@host.
        for one in re.split(r"@[^,@]*,[^:@,]*:", found):
            if len(one) >= _SHORTEST_NAMED:
                learn(one)
                learn(unquote(one))


def forget() -> None:
    """Forget everything that was learned (for tests)."""
    global _learned
    with _lock:
        _secrets.clear()
        _known.clear()
        _learned = None


def _any_of(forms: Iterable[str], depth: int = 3) -> str:
    """A pattern for all forms, the longest first: a secret that contains another one is hidden whole. By their first
    letters, because `re` tries each alternative at each place of the text."""
    if not depth:
        return "|".join(re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form)))
    by_letter: dict[str, list[str]] = defaultdict(list)
    for form in forms:
        by_letter[form[0]].append(form[1:])
    return "|".join(f"{re.escape(letter)}(?:{_any_of(rest, depth - 1)})" for letter, rest in sorted(by_letter.items()))


def _compiled() -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    """What was learned, and what of it is looked for over the ends of lines."""
    global _learned, _wrapped
    learned, wrapped, known = _learned, _wrapped, frozenset(_known)
    if learned is None and known:
        # Not under the lock: this takes long, and whoever writes meanwhile would wait for it.
        long = [form for form in known if len(form) >= _SHORTEST_WRAPPED and not re.search(r"\s", form)]
        learned, wrapped = re.compile(_any_of(known)), re.compile(_any_of(long)) if long else None
        with _lock:
            if known == _known:  # else more was learned meanwhile, and the next one looks for that too
                _learned, _wrapped = learned, wrapped
    return learned, wrapped if known else None


_BREAK = r"(?:\s|\\[nr]){0,200}"  # an end of a line, also an escaped one, and the indentation after it


def _without_wrapped(text: str, wrapped: re.Pattern[str]) -> str:
    """What was learned, hidden where lines break in it."""
    squeezed = "".join(text.replace("\\n", "").replace("\\r", "").split())
    for form in {match[0] for match in wrapped.finditer(squeezed)}:
        text = re.sub(_BREAK.join(map(re.escape, form)), HIDDEN, text)
    return text


_CODED = "[A-Za-z0-9+/_-]"
# A word of base64, or lines of it; a last line may be shorter than the others.
_BLOB = re.compile(
    rf"(?<!{_CODED}){_CODED}{{32,}}={{0,2}}"
    rf"(?:(?:\r?\n|(?:\\r)?\\n)[ \t]{{0,40}}{_CODED}{{32,}}={{0,2}})*"
    rf"(?:(?:\r?\n|(?:\\r)?\\n)[ \t]{{0,40}}{_CODED}{{1,76}}={{0,2}}(?=\s|\\|[\"']|$))?"
)
_URLSAFE = str.maketrans("-_", "+/")


def _without_blobs(text: str, depth: int) -> str:
    def look(blob: re.Match[str]) -> str:
        coded = re.sub(r"\\[nr]|[\s=]", "", blob[0]).translate(_URLSAFE)
        for begin in range(4):  # a letter or three may stand before it
            piece = coded[begin:]
            piece = piece[: len(piece) // 4 * 4] if len(piece) % 4 == 1 else piece + "=" * (-len(piece) % 4)
            try:
                inside = base64.b64decode(piece)
            except (binascii.Error, ValueError):
                continue
            if inside[:2] == b"\x1f\x8b":
                try:
                    inside = zlib.decompressobj(31).decompress(inside, _UNPACKED)
                except zlib.error:
                    continue
            shown = inside.decode("utf-8", "replace")
            if _is_text(inside[:60]) and _redact(shown, depth - 1) != shown:
                return HIDDEN
        return blob[0]

    return _BLOB.sub(look, text)


def _is_text(data: bytes) -> bool:
    return sum(byte in b"\t\r\n" or 32 <= byte < 127 for byte in data) >= 0.9 * len(data)


def redact(text: str) -> str:
    """``text`` with every learned secret and everything that looks like one replaced by ``***``."""
    return _redact(text, _DEPTH)


def _redact(text: str, depth: int) -> str:
    learned, wrapped = _compiled()
    if learned is not None:
        text = learned.sub(HIDDEN, text)
    if wrapped is not None and ("\n" in text or "\\n" in text):
        text = _without_wrapped(text, wrapped)
    text = _without_keys(text)
    if depth:
        text = _without_blobs(text, depth)
    text = _URL.sub(_without_login, text)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


# What a terminal would act on: escape sequences, other control characters, and what turns the direction of reading
# (ECMA-48; Unicode TR9). Guest consoles are full of them; line ends and tabs stay.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[@-Z\\])"
    "|[\x00-\x08\x0b-\x1f\x7f-\x9f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]"
)


def clean(text: str) -> str:
    """Redacted and free of control characters, line ends excepted."""
    # In this order: a sequence in the middle of a secret would hide it from the search, and then be taken out.
    return redact(_ESCAPES.sub("", text.replace("\r\n", "\n")))


class Filter(logging.Filter):
    """Attach to a logging handler: the finished message, arguments included, is redacted."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = clean(record.getMessage())
        record.args = None
        if record.exc_info and record.exc_text is None:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = clean(record.exc_text)
        return True

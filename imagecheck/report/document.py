"""What every page of a report shares: the shell with its policy, the base style, and text made harmless.

A page stands alone: nothing is fetched, and no script runs, not even one that slipped through the escaping.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import quote

from imagecheck.report.terminal import clean

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5a6068; --paper: #fff; --box: #f3f4f6; --line: #d5d9de;
  --link: #0b57b0; --bad: #b3261e; --missing: #8a5300; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e6e8eb; --soft: #a3abb5; --paper: #15181c; --box: #1f2429; --line: #3a4149; --link: #82b4ff;
    --bad: #ff8a80; --missing: #f0b354; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.25rem; line-height: 1.3; margin: .5rem 0; }
h2 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .4rem 0; }
a { color: var(--link); }
code, pre { font: .85rem/1.45 ui-monospace, monospace; white-space: pre-wrap; margin: 0; }
.soft { color: var(--soft); font-size: .9rem; }
.cause { border-left: .3rem solid var(--bad); background: var(--box); padding: .75rem 1rem; margin: 1rem 0; }
.cause strong { font-size: 1.1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .6rem 0 0; }
dt { color: var(--soft); }
dd { margin: 0; min-width: 0; }
.missing { color: var(--missing); }
@media (max-width: 40rem) {
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .4rem; }
}
"""
# Characters that turn the reading direction of what follows (Unicode TR9).
_TURNING = re.compile("[\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]")


def document(title: str, style: str, parts: Iterable[str]) -> str:
    """A whole page; ``parts`` are HTML already. Its policy lets in the style, by its hash (CSP level 2), no more."""
    style = STYLE + style
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>{style}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def text(raw: str) -> str:
    """Redacted, without control characters and those that turn the reading direction, escaped also for attributes."""
    return html.escape(_TURNING.sub("", clean(raw)))


def link(*names: str) -> str:
    """A relative address of what lies below this page's folder; its parts are names, none leads anywhere else."""
    plain = (re.sub(r"[/\\]", "_", name).lstrip(".") or "_" for name in names)
    return "/".join(quote(name, safe="", errors="replace") for name in plain)


def moment(seconds: float) -> str:
    """Seconds since the epoch, as a date and time in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(count: int) -> str:
    """Bytes, as a person reads them."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.1f} MB"

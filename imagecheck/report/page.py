"""The pages over the evidence: one for each node with the cause on top, one over all. Pure: facts in, HTML out.

A page stands alone: no script, nothing is fetched. All text may come from a guest: it is redacted, cleaned, escaped.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from imagecheck.errors import Cause
from imagecheck.report.facts import Node, Piece
from imagecheck.report.terminal import clean

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5a6068; --paper: #fff; --box: #f3f4f6; --line: #d5d9de;
  --link: #0b57b0; --bad: #b3261e; --missing: #8a5300; }
@media (prefers-color-scheme: dark) {
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
ul { list-style: none; margin: 0; padding: 0; border-top: 1px solid var(--line); }
li { display: grid; grid-template-columns: 14rem 1fr 8rem; gap: .1rem 1rem; padding: .45rem 0;
  border-bottom: 1px solid var(--line); }
li > :last-child { text-align: right; }
.missing { color: var(--missing); }
ul.nodes li { grid-template-columns: 1fr; }
ul.nodes li > :last-child { text-align: left; }
@media (max-width: 40rem) {
  ul:not(.nodes) li { grid-template-columns: 1fr auto; }
  ul:not(.nodes) li > :nth-child(2) { grid-row: 2; grid-column: 1 / 3; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .4rem; }
}
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
# Nothing but this style (CSP level 2); what slipped through the escaping could do nothing.
_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'"
# Characters that turn the reading direction of what follows (Unicode TR9).
_TURNING = re.compile("[\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]")


def node_page(image: str, node: Node) -> str:
    """The page of one node: cause, what failed, each piece with its size, where it comes from and a link."""
    there = [piece for piece in node.pieces if not piece.missing]
    lacking = [piece for piece in node.pieces if piece.missing]
    parts = [
        f'<p class="soft"><a href="../index.html">{_text(image)}</a></p>',
        f"<h1>{_text(node.id)}</h1>",
        _cause(node.verdict),
        f"<h2>What failed</h2><pre>{_text(node.sentence)}</pre>",
        f'<p class="soft">{_when(node)}; {len(there)} files, {_size(sum(piece.size for piece in there))}</p>',
    ]
    if node.see:
        parts.append(
            f'<p>Cloud and guest were asked for an earlier failure: <a href="../{quote(node.see)}/index.html">'
            f"{_text(node.see)}</a></p>"
        )
    for source in dict.fromkeys(piece.source for piece in there):
        rows = "".join(_row(piece) for piece in there if piece.source == source)
        parts.append(f"<h2>From {_text(source)}</h2><ul>{rows}</ul>")
    if lacking:
        parts.append(f"<h2>Not there</h2><ul>{''.join(map(_row, lacking))}</ul>")
    return _page(f"{node.id}: evidence", parts)


def index_page(image: str, nodes: Sequence[Node]) -> str:
    """The page over all nodes of one image's run, in the order in which they failed."""
    rows = "".join(
        f'<li><span><a href="{quote(node.folder.name)}/index.html">{_text(node.id)}</a></span>'
        f"<span>{_text(_told(node))}</span>"
        f'<span class="soft">{_when(node)}; {sum(not piece.missing for piece in node.pieces)} files</span></li>'
        for node in nodes
    )
    count = f"{len(nodes)} failure{'s' if len(nodes) != 1 else ''}"
    return _page(f"{image}: evidence", [f"<h1>{_text(image)}: {count}</h1>", f'<ul class="nodes">{rows}</ul>'])


def _page(title: str, parts: Iterable[str]) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _cause(verdict: Cause) -> str:
    known = verdict.known
    rows = (
        ("fault of the", f"{verdict.fault}, {verdict.confidence}" if known else ""),
        ("stage", verdict.stage),
        ("seen in", verdict.where),
        ("line" if known else "best evidence", verdict.seen),
        ("try", verdict.remedy),
        ("source", verdict.source),
        ("shows too", ", ".join(verdict.also)),
    )
    said = "".join(f"<dt>{label}</dt><dd>{_text(value)}</dd>" for label, value in rows if value)
    return f'<div class="cause"><strong>{_text(verdict.sentence)}</strong><dl>{said}</dl></div>'


def _row(piece: Piece) -> str:
    if piece.missing:
        return (
            f"<li><span>{_text(piece.name)}</span><span>{_text(piece.what)}<br>"
            f'<span class="missing">{_text(piece.missing)}</span></span>'
            f'<span class="soft">{_text(piece.source)}</span></li>'
        )
    note = f'<br><span class="missing">{_text(piece.note)}</span>' if piece.note else ""
    return (
        f'<li><a href="{quote(piece.name)}">{_text(piece.name)}</a><span>{_text(piece.what)}{note}</span>'
        f"<span>{_size(piece.size)}</span></li>"
    )


def _told(node: Node) -> str:
    return node.verdict.sentence if node.verdict.known else node.sentence.partition("\n")[0]


def _when(node: Node) -> str:
    moment = datetime.fromtimestamp(node.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"saved {moment} in {node.seconds:.1f} s"


def _size(size: int) -> str:
    if size < 1000:
        return f"{size} B"
    return f"{size / 1e3:.1f} kB" if size < 1_000_000 else f"{size / 1e6:.1f} MB"


def _text(text: str) -> str:
    return html.escape(_TURNING.sub("", clean(text)))

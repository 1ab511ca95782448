"""The pages over the evidence: one for each node with the cause on top, one over all. Pure: facts in, HTML out.

All text may come from a guest: document.text redacts, cleans and escapes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from imagecheck.errors import Cause
from imagecheck.report.document import document, link, moment, size, text
from imagecheck.report.facts import Node, Piece

_STYLE = """
ul { list-style: none; margin: 0; padding: 0; border-top: 1px solid var(--line); }
li { display: grid; grid-template-columns: 14rem 1fr 8rem; gap: .1rem 1rem; padding: .45rem 0;
  border-bottom: 1px solid var(--line); }
li > :last-child { text-align: right; }
ul.nodes li { grid-template-columns: 1fr; }
ul.nodes li > :last-child { text-align: left; }
@media (max-width: 40rem) {
  ul:not(.nodes) li { grid-template-columns: 1fr auto; }
  ul:not(.nodes) li > :nth-child(2) { grid-row: 2; grid-column: 1 / 3; }
}
"""


def node_page(image: str, node: Node) -> str:
    """The page of one node: cause, what failed, each piece with its size, where it comes from and a link."""
    there = [piece for piece in node.pieces if not piece.missing]
    lacking = [piece for piece in node.pieces if piece.missing]
    parts = [
        f'<p class="soft"><a href="../index.html">{text(image)}</a></p>',
        f"<h1>{text(node.id)}</h1>",
        _cause(node.verdict),
        f"<h2>What failed</h2><pre>{text(node.sentence)}</pre>",
        f'<p class="soft">{_when(node)}; {len(there)} files, {size(sum(piece.size for piece in there))}</p>',
    ]
    if node.see:
        parts.append(
            f'<p>Cloud and guest were asked for an earlier failure: <a href="../{link(node.see, "index.html")}">'
            f"{text(node.see)}</a></p>"
        )
    for source in dict.fromkeys(piece.source for piece in there):
        rows = "".join(_row(piece) for piece in there if piece.source == source)
        parts.append(f"<h2>From {text(source)}</h2><ul>{rows}</ul>")
    if lacking:
        parts.append(f"<h2>Not there</h2><ul>{''.join(map(_row, lacking))}</ul>")
    return document(f"{node.id}: evidence", _STYLE, parts)


def index_page(image: str, nodes: Sequence[Node]) -> str:
    """The page over all nodes of one image's run, in the order in which they failed."""
    rows = "".join(
        f'<li><span><a href="{link(node.folder.name, "index.html")}">{text(node.id)}</a></span>'
        f"<span>{text(_told(node))}</span>"
        f'<span class="soft">{_when(node)}; {sum(not piece.missing for piece in node.pieces)} files</span></li>'
        for node in nodes
    )
    count = f"{len(nodes)} failure{'s' if len(nodes) != 1 else ''}"
    return document(
        f"{image}: evidence", _STYLE, [f"<h1>{text(image)}: {count}</h1>", f'<ul class="nodes">{rows}</ul>']
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
    said = "".join(f"<dt>{label}</dt><dd>{text(value)}</dd>" for label, value in rows if value)
    return f'<div class="cause"><strong>{text(verdict.sentence)}</strong><dl>{said}</dl></div>'


def _row(piece: Piece) -> str:
    if piece.missing:
        return (
            f"<li><span>{text(piece.name)}</span><span>{text(piece.what)}<br>"
            f'<span class="missing">{text(piece.missing)}</span></span>'
            f'<span class="soft">{text(piece.source)}</span></li>'
        )
    note = f'<br><span class="missing">{text(piece.note)}</span>' if piece.note else ""
    return (
        f'<li><a href="{link(piece.name)}">{text(piece.name)}</a><span>{text(piece.what)}{note}</span>'
        f"<span>{size(piece.size)}</span></li>"
    )


def _told(node: Node) -> str:
    return node.verdict.sentence if node.verdict.known else node.sentence.partition("\n")[0]


def _when(node: Node) -> str:
    return f"saved {moment(node.at)} in {node.seconds:.1f} s"

"""Tables of texts for a terminal, as Markdown and as HTML. The first row is the header."""

from __future__ import annotations

import html
from collections.abc import Sequence

Rows = Sequence[Sequence[str]]


def short(value: float, digits: int = 4) -> str:
    """``value`` with so many significant digits; large ones whole, not as 2.421e+04."""
    return f"{value:.{digits}g}" if abs(value) < 10**digits - 0.5 else f"{value:.0f}"


def text_table(rows: Rows, *, figures: bool = False) -> str:
    """Columns side by side; with ``figures`` all but the first are aligned to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join(
            cell.rjust(width) if figures and i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def markdown_text(text: str) -> str:
    """``text`` escaped for one cell or line of Markdown."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(markdown_text, cells))} |"


def html_table(rows: Rows) -> str:
    """Scrolls if the page is too narrow for it."""
    head, *body = rows
    lines = [_html_row("th", head), *(_html_row("td", row) for row in body)]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

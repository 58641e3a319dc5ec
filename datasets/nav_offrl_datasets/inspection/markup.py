"""The few pieces of HTML that a report is made of; all text is escaped here and nowhere else."""

import base64
import html
import re
import unicodedata
from collections.abc import Iterable, Sequence

FIGURE = re.compile(r"[-+\d.,e%]*")
STYLE = """
:root { color-scheme: light; --line: #d9dee3; --soft: #5c6773; --accent: #1f3b57; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #f5f6f8; margin: 0; }
main { max-width: 1180px; margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 0 0 12px; color: var(--accent); }
h3 { font-size: 15px; margin: 20px 0 8px; overflow-wrap: anywhere; }
section { background: #fff; border: 1px solid var(--line); border-radius: 8px;
  padding: 18px 20px; margin: 18px 0; }
p { margin: 6px 0; }
.soft { color: var(--soft); overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0; }
.tile { background: #fff; border: 1px solid var(--line); border-radius: 8px;
  padding: 10px 16px; min-width: 130px; }
.tile b { display: block; font-size: 22px; color: var(--accent); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
ul { margin: 6px 0; padding-left: 20px; overflow-wrap: anywhere; }
.warn { border-left: 5px solid #d98e04; }
.fault { border-left: 5px solid #c62828; }
.frames { display: grid; grid-template-columns: repeat(8, 1fr); gap: 8px; }
@media (max-width: 800px) { .frames { grid-template-columns: repeat(4, 1fr); } }
figure { margin: 0; min-width: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: 4px; }
.missing { padding: 30px 8px; background: #eee; font-size: 12px; }
figcaption { font-size: 11px; line-height: 1.35; color: var(--soft); overflow-wrap: anywhere; }
img.wide { width: 100%; height: auto; }
details summary { cursor: pointer; font-size: 13px; color: var(--soft); }
@media print { section { break-inside: avoid; } body { background: #fff; } }
"""


def printable(value: object) -> str:
    """Return `value` in one line, without what would steer a terminal or reorder a line."""
    return "".join(
        "\ufffd" if unicodedata.category(character) in ("Cc", "Cf", "Cs") else character
        for character in str(value).replace("\n", " ")
    )


def text(value: object) -> str:
    """Return `value` as text that HTML shows as it is."""
    return html.escape(printable(value))


def number(value: float | None) -> str:
    """Return a number for people to read: four digits, thousands apart, a dash for None."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def page(title: str, body: Iterable[str]) -> str:
    """Return a whole document that refers to nothing outside itself."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # Belt and braces: even if something slipped through, a browser would fetch and run nothing.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def section(heading: str, *parts: str, kind: str = "") -> str:
    """Return a box with a heading; "" if there is nothing to put into it."""
    content = "\n".join(part for part in parts if part)
    if not content:
        return ""
    return f'<section class="{kind}">\n<h2>{text(heading)}</h2>\n{content}\n</section>'


def table(headers: Sequence[str], rows: Iterable[Sequence[str | float | None]]) -> str:
    """Return a table; columns without words are aligned to the right."""
    shown = [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows]
    columns = zip(*shown, strict=True) if shown else [()] * len(headers)
    kinds = [' class="number"' if all(map(FIGURE.fullmatch, column)) else "" for column in columns]

    def line(tag: str, cells: Sequence[str]) -> str:
        marked = (
            f"<{tag}{kind}>{text(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True)
        )
        return f"<tr>{''.join(marked)}</tr>"

    body = "\n".join(line("td", row) for row in shown)
    head = f"<thead>{line('th', headers)}</thead>\n" if any(headers) else ""
    return f'<div class="scroll"><table>\n{head}<tbody>\n{body}\n</tbody>\n</table></div>'


def lines(items: Iterable[str], most: int = 100) -> str:
    """Return a list of up to `most` lines and how many more there are; "" for none."""
    items = list(items)
    shown = items[:most] + ([f"... and {len(items) - most} more"] if len(items) > most else [])
    return "<ul>" + "".join(f"<li>{text(item)}</li>" for item in shown) + "</ul>" if items else ""


def wide_image(png: bytes | None, about: str) -> str:
    """Return a picture over the whole width, embedded; "" for None."""
    if png is None:
        return ""
    return f'<img class="wide" alt="{text(about)}" src="{_data("image/png", png)}">'


def figure(jpeg: bytes | None, caption: str) -> str:
    """Return a frame with its caption, embedded; None: it cannot be decoded."""
    shown = (
        '<div class="missing">cannot be decoded</div>'
        if jpeg is None
        else f'<img alt="{text(caption)}" src="{_data("image/jpeg", jpeg)}">'
    )
    return f"<figure>{shown}<figcaption>{text(caption)}</figcaption></figure>"


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

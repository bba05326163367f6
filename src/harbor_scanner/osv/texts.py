"""The text of an advisory, as Harbor shows it: without markup, and no longer than one likes to read."""

from __future__ import annotations

import html
import re

MAX_LENGTH = 3000
"""Characters of a description."""

# What starts a piece of markup, the whole piece, and what of it is text.
_RULES = (
    ("```", re.compile(r"```[^\n`]*\n?"), ""),
    ("<!--", re.compile(r"<!--.*?-->", re.DOTALL), ""),
    ("<", re.compile(r"</?[a-zA-Z][^<>\n]{0,300}>"), ""),
    ("![", re.compile(r"!\[([^\]\n]{0,300})\]\([^)\n]{0,1000}\)"), r"\1"),
    ("](", re.compile(r"\[([^\]\n]{1,300})\]\([^)\n]{0,1000}\)"), r"\1"),
    ("#", re.compile(r"^[ \t]{0,3}#{1,6}[ \t]+", re.MULTILINE), ""),
    (">", re.compile(r"^[ \t]{0,3}>[ \t]?", re.MULTILINE), ""),
    ("**", re.compile(r"\*\*(?=\S)([^\n]{1,500}?)(?<=\S)\*\*"), r"\1"),
    ("`", re.compile(r"(`{1,2})([^`\n]{1,500})\1"), r"\2"),
    ("\\", re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
    ("\n", re.compile(r"[ \t]+$", re.MULTILINE), ""),
    ("\n\n\n", re.compile(r"\n{3,}"), "\n\n"),
)


def description(summary: str, details: str) -> str:
    """Return summary and details (https://ossf.github.io/osv-schema/#summary-details-fields) as one plain text."""
    title = " ".join(summary.split())
    text = plain(details[: 2 * MAX_LENGTH])
    if title and not text.lower().startswith(title.lower().rstrip(".")):
        text = f"{title}\n\n{text}" if text else title
    return shortened(text, MAX_LENGTH)


def plain(markdown: str) -> str:
    """Return what CommonMark shows, as text."""
    text = markdown.replace("\r\n", "\n")
    for start, piece, kept in _RULES:
        if start in text:
            text = piece.sub(kept, text)
    return html.unescape(text).strip()


def shortened(text: str, limit: int) -> str:
    """Return `text`, or its beginning up to the end of a word and an ellipsis, if it has more characters."""
    if len(text) <= limit:
        return text
    start = text[: limit - 1]
    end = max(start.rfind(" "), start.rfind("\n"))
    return f"{start[:end].rstrip() if end > limit // 2 else start}…"

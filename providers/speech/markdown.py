"""What of Markdown is read aloud."""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

MAX_MARKDOWN = 50_000
"""Characters. Five times what can be spoken, for what is not; at worst parsing takes a second of 50,000."""

TARGET = r"\((?>[^()\n]|\([^()\n]*+\))*+\)"
NUMBERS = r"\^?\d{1,3}(?: ?[,–-] ?\d{1,3}){0,9}"
CITATION = rf"(?:\[\[{NUMBERS}\]\]|\[{NUMBERS}\]|\[\^[\w-]{{1,40}}\])(?:{TARGET})?"
FOOTNOTE = r"(?<![^\n])\[\^[\w-]{1,40}\]:.*"
TASK = r"\A\[[ xX]\]\s"
UNSPOKEN = re.compile(f"{TASK}|{FOOTNOTE}|{CITATION}")
ADDRESS = re.compile(
    r"https?://(?:www\.)?([^\s/<>()\[\]\"'`?#]++)(?:[/?#][^\s<>()\[\]\"'`]*[^\s<>()\[\]\"'`.,;:!?])?/?"
)
"""Nobody wants to hear more of one than its host."""


class _Reader(MarkdownIt):
    """CommonMark with tables and strikethrough, of which all tags and links are marks alone."""

    def __init__(self) -> None:
        super().__init__("commonmark")
        self.enable(["table", "strikethrough"])
        self.disable(["code", "html_block"])  # lines that are far in, or begin with a tag, have words too
        self.inline.ruler.before("link", "unspoken", _unspoken)

    def validateLink(self, url: str) -> bool:
        return True  # nobody opens it


def _unspoken(state: StateInline, silent: bool) -> bool:
    found = UNSPOKEN.match(state.src, state.pos, state.posMax)
    if not found:
        return False
    if not silent:
        state.pending = state.pending.removesuffix("^").removesuffix(" ")
    state.pos = found.end()
    return True


READER = _Reader()


def plain(markdown: str) -> str:
    """Its words, as one would read them aloud: no code blocks, images, tags, citations or footnotes.

    Of a text longer than MAX_MARKDOWN, those of its beginning.
    """
    spoken: list[str] = []
    end = 0  # the line up to which everything is spoken, or need not be
    for token in READER.parse(markdown[:MAX_MARKDOWN]):
        if token.type not in ("inline", "fence") or not token.map:
            continue
        if token.map[0] > end:
            spoken.append("")
        if token.type == "inline":
            words = _words(token.children or [])
            if token.map[0] < end:  # another cell of the same row
                spoken[-1] = ", ".join(filter(None, (spoken[-1], words)))
            else:
                spoken.append(words)
        end = token.map[1]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(spoken)).strip()


def _words(parts: list[Token]) -> str:
    said = "".join(
        "\n" if part.type in ("softbreak", "hardbreak") else part.content
        for part in parts
        if part.type in ("text", "code_inline", "softbreak", "hardbreak")
    )
    return "\n".join(" ".join(line.split()) for line in ADDRESS.sub(r"\1", said).split("\n"))

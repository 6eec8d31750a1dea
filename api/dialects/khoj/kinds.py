"""What Khoj's clients call types of documents."""

from pathlib import PurePath
from typing import Literal

COMPUTER = "computer"
"""Where all documents come from: the clients of a user's."""
Kind = Literal["markdown", "org", "pdf", "html", "plaintext"]
KINDS: dict[str, Kind] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdx": "markdown",
    "text/markdown": "markdown",
    ".org": "org",
    "text/org": "org",
    "text/x-org": "org",
    ".pdf": "pdf",
    "application/pdf": "pdf",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    "text/html": "html",
    "application/xhtml+xml": "html",
}


def kind_of(name: str, media_type: str | None) -> Kind:
    """What clients call this type of document, told by its name, else by its media type."""
    return KINDS.get(PurePath(name).suffix.lower()) or KINDS.get(media_type or "", "plaintext")

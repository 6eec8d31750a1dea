"""What can be stored: ids that can be indexed, and texts and metadata that are worth keeping."""

from typing import Annotated, Any

import msgspec

MAX_TEXT = 100_000
"""Characters of one memory: far above a fact, and still within what full-text search takes."""
MAX_DEPTH = 32
MAX_METADATA_BYTES = 64_000

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"\A[^\x00]*\Z")]
"""A user's, agent's or run's id: short enough for a B-tree."""
Tag = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
MAX_TAGS_WANTED = 1_000
"""Each is looked for in each memory."""
TagsWanted = Annotated[list[Tag], msgspec.Meta(max_length=MAX_TAGS_WANTED)]
"""What a list or a search asks for."""


def check_storable(struct: msgspec.Struct) -> None:
    """Raises ValueError where U+0000 is anywhere within: PostgreSQL's text and jsonb cannot hold it."""
    if b"\\u0000" in msgspec.json.encode(struct):  # also a backslash before u0000: then look closely
        refuse_nul(struct)


def refuse_nul(value: Any) -> None:
    """Raises ValueError where U+0000 is anywhere within strings, lists and objects."""
    match value:
        case str():
            if "\x00" in value:
                raise ValueError("the character U+0000 cannot be stored")
        case dict():
            for key, inner in value.items():
                refuse_nul(key)
                refuse_nul(inner)
        case list() | tuple():
            for inner in value:
                refuse_nul(inner)
        case msgspec.Struct():
            for name in value.__struct_fields__:
                refuse_nul(getattr(value, name))


def check_metadata(metadata: dict[str, Any] | None) -> None:
    """Raises ValueError for metadata that is too deep or too large to be worth keeping."""
    if metadata is None:
        return
    if depth(metadata) > MAX_DEPTH:
        raise ValueError(f"metadata is nested deeper than {MAX_DEPTH} levels")
    if len(msgspec.json.encode(metadata)) > MAX_METADATA_BYTES:
        raise ValueError(f"metadata is larger than {MAX_METADATA_BYTES} bytes of JSON")


def depth(value: Any) -> int:
    """Levels of nesting: 0 for a plain value."""
    levels, at = 0, [value]
    while at := [
        inner
        for outer in at
        if isinstance(outer, dict | list)
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        levels += 1
    return levels + (isinstance(value, dict | list) and levels == 0)


def check_text(text: str) -> None:
    """Raises ValueError for a text that says nothing, or too much for one memory."""
    if not text.strip():
        raise ValueError("the text is empty")
    if len(text) > MAX_TEXT:
        raise ValueError(f"the text is longer than {MAX_TEXT} characters")

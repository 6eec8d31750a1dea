"""Ids as requests spell them."""

from uuid import UUID

from domain.errors import NotFound
from domain.ids import INGESTION_PREFIX, MEMORY_PREFIX, PROJECT_PREFIX, REVIEW_PREFIX, parse

KINDS = {
    MEMORY_PREFIX: "memory",
    INGESTION_PREFIX: "ingestion",
    REVIEW_PREFIX: "review",
    PROJECT_PREFIX: "project",
}


def id_of(prefix: str, text: str) -> UUID:
    """The id that `text` spells. Raises NotFound: what is no id names nothing that there is."""
    id = parse(prefix, text)
    if id is None:
        raise NotFound(f"no such {KINDS[prefix]}")
    return id

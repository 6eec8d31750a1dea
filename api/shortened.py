"""The header by which a search tells that its query was too long for all of it to count."""

from typing import Any

from litestar.datastructures import ResponseHeader

from projections.retrieval import LEXEMES, Found

SHORTENED = ResponseHeader(
    name="Everlog-Query-Shortened",
    description=f"{LEXEMES}, where a query has more different words: so many counted, the rarest.",
    example=str(LEXEMES),
    documentation_only=True,
)
"""What the OpenAPI document says of it, for each route that searches."""


def if_shortened(found: Found[Any]) -> dict[str, str]:
    """The header, where there is something to tell."""
    return {SHORTENED.name: str(LEXEMES)} if found.shortened else {}

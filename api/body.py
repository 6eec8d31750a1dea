"""What every request body shares: unknown fields are ignored, and what cannot be stored is refused."""

from typing import Annotated

import msgspec
from litestar.params import QueryParameter

from application.storable import check_storable

IdParameter = Annotated[str | None, QueryParameter(min_length=1, max_length=255)]


class Body(msgspec.Struct, kw_only=True, frozen=True):
    """A request body."""

    def __post_init__(self) -> None:
        check_storable(self)

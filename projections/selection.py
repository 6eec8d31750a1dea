"""Which memories, or documents, a query is about, as SQL over the columns that their projections share."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from domain.scope import Scope

SCOPES = ("user_id", "agent_id", "run_id", "project_id")
UNEXPIRED = "coalesce((traits ->> 'expires_on')::date > (now() AT TIME ZONE 'UTC')::date, true)"


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """All that is named must hold."""

    scope: Scope
    """Its owner always; of the others those that are named."""
    exact: bool = False
    """Leave out what belongs to a narrower scope, such as an agent's where none is named."""
    without_user: bool = False
    tags: tuple[str, ...] = ()
    """All of them must be there."""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    """All of these pairs must be there."""
    ids: Sequence[UUID] | None = None
    """Only memories with these."""
    type: str | None = None
    type_of_untyped: str | None = None
    """What a memory counts as that has no type."""
    created_since: datetime | None = None
    updated_since: datetime | None = None
    min_confidence: float | None = None
    """Lowest; a memory that nobody gave a confidence has 1."""
    with_expired: bool = False
    """Also what expired and was not deleted yet."""
    also: str | None = None
    """One more condition, with its values in `values`; never a client's words."""
    values: dict[str, Any] = msgspec.field(default_factory=dict)

    def where(self) -> tuple[str, dict[str, Any]]:
        """The condition, and the values that it names."""
        values: dict[str, Any] = {"owner": self.scope.owner, **self.values}
        conditions = ["owner = %(owner)s"]
        for column in SCOPES:
            if (value := getattr(self.scope, column)) is not None:
                conditions.append(f"{column} = %({column})s")
                values[column] = value
            elif self.exact or (self.without_user and column == "user_id"):
                conditions.append(f"{column} IS NULL")
        if self.tags:
            conditions.append("tags @> %(tags)s::text[]")
            values["tags"] = list(self.tags)
        if self.metadata:
            conditions.append("metadata @> %(metadata)s")
            values["metadata"] = Jsonb(self.metadata)
        if self.ids is not None:
            conditions.append("memory_id = ANY(%(ids)s)")
            values["ids"] = list(self.ids)
        if self.type is not None:
            conditions.append("coalesce(traits ->> 'type', %(type_of_untyped)s) = %(type)s")
            values |= {"type": self.type, "type_of_untyped": self.type_of_untyped}
        for column in ("created", "updated"):
            if (since := getattr(self, f"{column}_since")) is not None:
                conditions.append(f"{column}_at >= %({column}_since)s")
                values[f"{column}_since"] = since
        if self.min_confidence is not None:
            conditions.append("coalesce((traits ->> 'confidence')::float8, 1) >= %(min_confidence)s")
            values["min_confidence"] = self.min_confidence
        if not self.with_expired:
            conditions.append(UNEXPIRED)
        if self.also:
            conditions.append(f"({self.also})")
        return " AND ".join(conditions), values

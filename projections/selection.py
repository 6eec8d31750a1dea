"""Which memories, or documents, a query is about, as SQL over the columns that their projections share."""

from collections.abc import Sequence
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from domain.scope import Scope
from projections.conditions import Condition, Parameters

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
    min_confidence: float | None = None
    """Lowest; a memory that nobody gave a confidence has 1."""
    with_expired: bool = False
    """Also what expired and was not deleted yet."""
    conditions: Sequence[Condition] = ()
    """All else that must hold."""

    def where(self) -> tuple[str, dict[str, Any]]:
        """The condition, and the values that it names."""
        parameter = Parameters()
        values: dict[str, Any] = {"owner": self.scope.owner}
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
        if self.min_confidence is not None:
            conditions.append("coalesce((traits ->> 'confidence')::float8, 1) >= %(min_confidence)s")
            values["min_confidence"] = self.min_confidence
        if not self.with_expired:
            conditions.append(UNEXPIRED)
        conditions += [condition.sql(parameter) for condition in self.conditions]
        return " AND ".join(conditions), values | parameter.values

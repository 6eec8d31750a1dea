"""Where a memory, a conversation or a document belongs."""

import msgspec


class Scope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Only the owner (the tenant, from the API key) is always there."""

    owner: str
    user_id: str | None = None
    agent_id: str | None = None
    run_id: str | None = None
    project_id: str | None = None

    def holds(self, other: "Scope") -> bool:
        """Whether all ids that this one names are the other's too."""
        return self.owner == other.owner and all(
            getattr(self, name) in (None, getattr(other, name))
            for name in ("user_id", "agent_id", "run_id", "project_id")
        )

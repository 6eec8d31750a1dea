"""Projects: what an application wants remembered, and under which categories."""

from uuid import UUID

from application.asked import Asked
from application.engine import Engine
from domain.errors import NotFound
from domain.eventstore.cells import Cell
from domain.eventstore.reading import Filter, read_log
from domain.eventstore.states import states_of
from domain.ids import PROJECT_PREFIX, parse
from domain.project import Guidance, Project
from domain.recorded import stored_names

READ_EVENTS = 1_000


async def find(engine: Engine, asked: Asked, id: UUID) -> Project | None:
    """A project of the caller's; None where there is none, or it is deleted."""
    try:
        found = await engine.state(asked, Project, id)
    except NotFound:
        return None
    return None if found.deleted or found.scope.owner != asked.caller.owner else found


async def guidance_of(engine: Engine, asked: Asked, project_id: str | None) -> Guidance:
    """What a project tells extraction; nothing where the id is only a name that the client chose."""
    id = parse(PROJECT_PREFIX, project_id) if project_id else None
    found = await find(engine, asked, id) if id else None
    return found.guidance if found else Guidance()


def every(cell: Cell, owner: str) -> list[Project]:
    """All of an owner's, oldest first."""
    only = Filter(owner=owner, types=stored_names("project.set."))
    ids: dict[UUID, None] = {}
    after = 0
    with cell.pool.connection() as conn:
        while entries := read_log(conn, after, READ_EVENTS, only):
            after = entries[-1].position
            ids |= {entry.originator_id: None for entry in entries}
        states = states_of(conn, cell.log.mapper, Project, list(ids))
    return [state for state in states.values() if not state.deleted]

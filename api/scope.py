"""The scope that a query's parameters name: whose memories it is about."""

from litestar.di import NamedDependency, Provide

from api.body import IdParameter
from application.asked import Asked
from domain.scope import Scope


async def provide_scope(
    asked: NamedDependency[Asked],
    user_id: IdParameter = None,
    agent_id: IdParameter = None,
    run_id: IdParameter = None,
    project_id: IdParameter = None,
) -> Scope:
    return Scope(
        owner=asked.caller.owner, user_id=user_id, agent_id=agent_id, run_id=run_id, project_id=project_id
    )


SCOPED = {"within": Provide(provide_scope)}

"""MemoryStack's automatic maintenance, which is off here: memories are consolidated when somebody asks."""

from http import HTTPStatus
from typing import Literal

import msgspec
from litestar import get, post
from litestar.params import JSONBody

from api.body import Body
from api.dialects.memorystack.answers import TAGS, answers
from api.errors import Refusal

Frequency = Literal["daily", "weekly", "monthly"]


class MaintenanceRequest(Body, frozen=True, kw_only=True):
    consolidation_enabled: bool | None = None
    consolidation_frequency: Frequency | None = None
    reflection_enabled: bool | None = None
    reflection_frequency: Frequency | None = None

    def wants_any(self) -> bool:
        """Whether something is to be done by itself. A frequency alone asks for that too."""
        return any(
            enabled or (enabled is None and frequency is not None)
            for enabled, frequency in (
                (self.consolidation_enabled, self.consolidation_frequency),
                (self.reflection_enabled, self.reflection_frequency),
            )
        )


class MaintenanceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool = True
    consolidation_enabled: bool = False
    consolidation_frequency: Frequency | None = None
    reflection_enabled: bool = False
    reflection_frequency: Frequency | None = None


@get(
    "/api/v1/auto-maintenance/config",
    operation_id="memorystackGetAutoMaintenance",
    opt={"scope": "memories:read"},
    responses=answers(),
    sync_to_thread=False,
    tags=TAGS,
    summary="What is done to memories by itself: nothing",
)
def show() -> MaintenanceAnswer:
    return MaintenanceAnswer()


@post(
    "/api/v1/auto-maintenance/config",
    operation_id="memorystackSetAutoMaintenance",
    opt={"scope": "memories:write"},
    responses=answers(413, 415, 501),
    status_code=200,
    sync_to_thread=False,
    tags=TAGS,
    summary="Leave everything off; asking for anything else is 501",
)
def change(data: JSONBody[MaintenanceRequest]) -> MaintenanceAnswer:
    if data.wants_any():
        raise Refusal(
            HTTPStatus.NOT_IMPLEMENTED,
            "not-implemented",
            "memories are not maintained automatically here: call `POST /api/v1/memories/consolidate` or"
            " `/reflect` when it is time, for example from cron",
        )
    return MaintenanceAnswer()


ROUTES = [show, change]

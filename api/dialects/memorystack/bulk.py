"""MemoryStack's routes on many memories at once: counts, graph, reflection and consolidation."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from api.body import Body
from api.dialects.memorystack.answers import DEFAULT_TYPE, TAGS, answers, selected
from api.dialects.memorystack.repeats import ONCE_OF_ALL
from api.request import IdempotencyKey, MinPosition
from application import consolidation, finding, graph, usage
from application.asked import Asked
from application.engine import Engine
from application.storable import Id
from domain.memory import Memory
from projections import search
from projections.conditions import TimeIs

MAX_NODES = 500
"""Of the graph: the newest memories, and the most spoken of entities."""
THEMES: dict[str, int] = {"shallow": 5, "deep": 25}
"""How many themes of each kind an analysis tells."""
THEME_MEMORIES = 50
"""How many memories are named for a theme, the newest first."""


# --- counts -----------------------------------------------------------------------------------------


class StatsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    owner_id: str
    plan_tier: str | None
    totals: dict[str, int]
    usage: dict[str, int]
    storage: dict[str, int]


@get(
    "/api/v1/stats",
    operation_id="memorystackGetStats",
    opt={"scope": "memories:read"},
    responses=answers(),
    tags=TAGS,
    summary="Memories now, and this month's requests; a second behind at the most",
)
async def stats(asked: NamedDependency[Asked], engine: NamedDependency[Engine]) -> StatsAnswer:
    owner = asked.caller.owner
    extent, used = await usage.extent(engine, asked, since=datetime.now(UTC).date().replace(day=1))
    counts = {"current_month_api_calls": used.calls, "current_month_searches": used.searches}
    if limit := asked.caller.terms.per_month:
        counts["monthly_api_limit"] = limit
    return StatsAnswer(
        success=True,
        owner_id=owner,
        plan_tier=None,
        totals={
            "total_memories": extent.memories,
            "total_users": extent.users,
            "total_agents": extent.agents,
        },
        usage=counts,
        storage={"content_bytes": extent.text_bytes, "metadata_bytes": extent.metadata_bytes},
    )


# --- graph ------------------------------------------------------------------------------------------


class NodeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    label: str
    type: Literal["owner", "enduser", "memory", "entity"]
    group: int
    """One number a type."""
    content: str | None = None


class LinkAnswer(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    target: str
    label: str


class GraphAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    nodes: list[NodeAnswer]
    links: list[LinkAnswer]


@get(
    "/api/v1/graph",
    operation_id="memorystackGetGraph",
    opt={"scope": "memories:read"},
    responses=answers(),
    tags=TAGS,
    summary="Owner, users, newest memories, and the entities that these speak of, with what links them",
)
async def whole(
    asked: NamedDependency[Asked], engine: NamedDependency[Engine], min_position: MinPosition = None
) -> GraphAnswer:
    seen = await graph.overview(engine, asked, MAX_NODES)
    drawn = _Drawing(asked.caller.owner)
    for memory in seen.memories:
        drawn.memory(memory)
    for entity in seen.entities:
        drawn.entity(entity.name)
    for relation in seen.relations:
        drawn.link(drawn.entity(relation.source), drawn.entity(relation.target), relation.relation)
    return GraphAnswer(success=True, nodes=list(drawn.nodes.values()), links=list(drawn.links))


class _Drawing:
    """The graph as it is drawn, each node and each link once."""

    def __init__(self, owner: str) -> None:
        self.nodes: dict[str, NodeAnswer] = {}
        self.links: dict[LinkAnswer, None] = {}
        self._owner = self._node(f"owner:{owner}", owner, "owner", 0)

    def memory(self, memory: Memory) -> None:
        whose = self._owner
        if user := memory.scope.user_id:
            whose = self._node(f"user:{user}", user, "enduser", 1)
            self.link(self._owner, whose, "has_user")
        id = self._node(str(memory.id), memory.traits.type or DEFAULT_TYPE, "memory", 2, memory.text)
        self.link(whose, id, "has_memory")
        for entity in memory.traits.entities:
            self.link(id, self.entity(entity.name), "mentions")

    def entity(self, name: str) -> str:
        return self._node(f"entity:{name.lower()}", name, "entity", 3)

    def link(self, source: str, target: str, label: str) -> None:
        self.links[LinkAnswer(source=source, target=target, label=label)] = None

    def _node(
        self,
        id: str,
        label: str,
        type: Literal["owner", "enduser", "memory", "entity"],
        group: int,
        content: str | None = None,
    ) -> str:
        self.nodes.setdefault(id, NodeAnswer(id=id, label=label, type=type, group=group, content=content))
        return id


# --- reflection -------------------------------------------------------------------------------------


class ReflectRequest(Body, frozen=True, kw_only=True, rename="camel"):
    time_window_days: Annotated[int, msgspec.Meta(ge=1, le=90)] = 7
    analysis_depth: Literal["shallow", "deep"] = "shallow"
    dry_run: bool = False
    """Makes no difference: nothing is ever stored."""
    min_pattern_strength: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.7
    user_id: Id | None = msgspec.field(default=None, name="user_id")


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """Something that more than one memory of the time speaks of."""

    kind: search.Kind
    name: str
    """A memory type, an entity's name, or the stem of a word."""
    strength: float
    """Its memories as a share of those of the strongest pattern of its kind."""
    memories: int
    memory_ids: list[str]
    """The newest of them."""


class ReflectAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    mode: Literal["sync"]
    dry_run: bool
    memories_analyzed: int
    patterns_detected: int
    insights_generated: int
    """Memories made of the patterns: none ever."""
    patterns: list[Pattern]
    message: str


@post(
    "/api/v1/memories/reflect",
    operation_id="memorystackReflect",
    opt={"scope": "memories:read", "bodiless": True},
    responses=answers(413, 415),
    status_code=200,
    tags=TAGS,
    summary="What the memories of some days speak of most: types, entities and words",
)
async def reflect(
    asked: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    data: JSONBody[ReflectRequest | None] = None,
) -> ReflectAnswer:
    wanted = data or ReflectRequest()
    since = datetime.now(UTC) - timedelta(days=wanted.time_window_days)
    selection = msgspec.structs.replace(
        selected(asked, wanted.user_id), conditions=(TimeIs("created_at", ">=", since),)
    )
    analyzed, themes = await finding.themes(
        engine,
        asked,
        selection,
        most=THEMES[wanted.analysis_depth],
        least=wanted.min_pattern_strength,
        named=THEME_MEMORIES,
        untyped=DEFAULT_TYPE,
    )
    patterns = [
        Pattern(
            kind=theme.kind,
            name=theme.name,
            strength=round(theme.strength, 4),
            memories=theme.memories,
            memory_ids=[str(id) for id in theme.ids],
        )
        for theme in themes
    ]
    return ReflectAnswer(
        success=True,
        mode="sync",
        dry_run=wanted.dry_run,
        memories_analyzed=analyzed,
        patterns_detected=len(patterns),
        insights_generated=0,
        patterns=patterns,
        message="patterns are told, and none is stored as a memory",
    )


# --- consolidation ----------------------------------------------------------------------------------


class ConsolidateRequest(Body, frozen=True, kw_only=True):
    similarity_threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9
    """Of two memories' words in order; 1: only the same words."""
    check_redundancy: bool = True
    """Look also for memories of which another says all and more."""
    dry_run: bool = False
    user_id: Id | None = None
    agent_id: Id | None = None


class Same(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    content: str


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Memories that say the same."""

    kept: Same
    duplicates: list[Same]


class ConsolidateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    mode: Literal["sync"]
    dry_run: bool
    duplicates_found: int
    memories_merged: int
    """Deleted as duplicates; none in a dry run."""
    groups: list[Group]
    message: str


@post(
    "/api/v1/memories/consolidate",
    operation_id="memorystackConsolidate",
    opt={"scope": "memories:write", "bodiless": True},
    responses=answers(409, 413, 415, 422),
    dependencies=ONCE_OF_ALL,
    status_code=200,
    tags=TAGS,
    summary="Delete memories that say what another of the same user, agent and run says too",
)
async def consolidate(
    once: NamedDependency[Asked],
    engine: NamedDependency[Engine],
    data: JSONBody[ConsolidateRequest | None] = None,
    idempotency_key: IdempotencyKey = None,
) -> ConsolidateAnswer:
    wanted = data or ConsolidateRequest()
    selection = selected(once, wanted.user_id, wanted.agent_id)
    threshold = wanted.similarity_threshold if wanted.check_redundancy else 1.0
    compared, found = await consolidation.consolidate(
        engine, once, selection, threshold, dry_run=wanted.dry_run
    )
    duplicates_found = sum(len(group) - 1 for group in found)
    return ConsolidateAnswer(
        success=True,
        mode="sync",
        dry_run=wanted.dry_run,
        duplicates_found=duplicates_found,
        memories_merged=0 if wanted.dry_run else duplicates_found,
        groups=[Group(kept=_same(kept), duplicates=[_same(m) for m in rest]) for kept, *rest in found],
        message=f"the newest {compared} memories were compared"
        if compared == consolidation.MAX_COMPARED
        else "all memories were compared",
    )


def _same(memory: Memory) -> Same:
    return Same(id=str(memory.id), content=memory.text)


ROUTES = [stats, whole, reflect, consolidate]

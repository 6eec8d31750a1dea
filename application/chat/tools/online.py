"""`/online`: what a web search finds, and its best pages."""

import asyncio

import msgspec

from application.chat.chat import Chat
from application.chat.tools.notes import Queries
from application.chat.tools.telling import MAX_CHARACTERS, as_json, listed, phrases
from application.chat.tools.tool import Desk, Outcome, Tool, ToolFailed
from application.chat.tools.webpage import Pages, read
from application.query_filters import without_filters
from domain.conversation import Link, References, WebSearch
from providers.web.search import SearchUnavailable

RESULTS = 8
TOLD_OF_RESULTS = 3_000
"""Characters; the pages have the rest."""

MISSING = (
    "No web search is configured: set EVERLOG_WEB_SEARCH to searxng, serper, tavily or brave, "
    "and EVERLOG_WEB_SEARCH_URL or EVERLOG_WEB_SEARCH_KEY as it needs."
)


class Online(Tool):
    command = "online"
    order = 20
    help = "Search the web."
    option = "Search the web."
    description = (
        "Searches the web and reads the best pages. Use it for what is recent, changes, or is not certain: "
        "news, prices, weather, versions, facts to verify. Queries must hold nothing private of the user."
    )
    arguments: type[msgspec.Struct] = Queries

    def available(self, chat: Chat) -> bool:
        return chat.means.search is not None

    def missing(self) -> str:
        return MISSING

    def guess(self, question: str) -> Queries:
        return Queries([without_filters(question)])

    async def run(self, desk: Desk, arguments: Queries) -> Outcome:
        queries = phrases(arguments.queries)
        if not queries:
            raise ToolFailed("The web search needs at least one query.")
        desk.say(f"**Searching the web for**: {listed(queries)}")
        searches = await _searched(desk, queries)
        desk.addresses.update(link.url for search in searches for link in search.links)
        pages = await _best_pages(desk, searches)
        return Outcome(
            told=_for_model(searches, pages),
            references=References(searches=tuple(searches), pages=tuple(pages.read)),
        )


async def _searched(desk: Desk, queries: list[str]) -> list[WebSearch]:
    """The searches that were answered. Raises ToolFailed when none was."""
    answers = await asyncio.gather(*(_search(desk, query) for query in queries))
    searches = [answer for answer in answers if isinstance(answer, WebSearch)]
    failures = dict.fromkeys(answer for answer in answers if isinstance(answer, str))
    if not searches:
        raise ToolFailed(f"Online search failed: {'; '.join(failures)}")
    if failures:
        desk.say(f"**Some searches failed**: {listed(failures)}")
    return searches


async def _search(desk: Desk, query: str) -> WebSearch | str:
    """The links, or why there are none."""
    if desk.chat.means.search is None:
        return MISSING
    try:
        found = await desk.chat.means.search.search(query, RESULTS)
    except SearchUnavailable as error:
        return str(error)
    links = tuple(Link(title=one.title, url=one.link, snippet=one.snippet) for one in found)
    return WebSearch(query=query, links=links)


async def _best_pages(desk: Desk, searches: list[WebSearch]) -> Pages:
    """The first page of each search."""
    best: dict[str, str] = {}
    for search in searches:
        for link in search.links[:1]:
            best.setdefault(link.url, search.query)
    return await read(desk, best) if best else Pages()


def _for_model(searches: list[WebSearch], pages: Pages) -> str:
    results = as_json(
        [
            {"query": search.query, "title": link.title, "url": link.url, "snippet": link.snippet}
            for search in searches
            for link in search.links
        ],
        TOLD_OF_RESULTS,
    )
    return f'{{"results":{results},"pages":{as_json(pages.items(), MAX_CHARACTERS - TOLD_OF_RESULTS)}}}'


ONLINE = Online()

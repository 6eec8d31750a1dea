"""Searches the web with one of the services that do."""

import asyncio
import html
import logging
import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import httpx2
import msgspec

# It writes every address it asks to the log, and what somebody searches for is in it.
logging.getLogger("httpx2").setLevel(logging.WARNING)

SECONDS = 10.0
"""For one try."""
RETRY_SECONDS = 1.0
"""Brave's smallest plan takes one search a second."""
MAX_QUERY = 400
"""Characters; Brave and Tavily refuse more, and Brave more than MAX_WORDS words."""
MAX_WORDS = 50
MAX_COUNT = 20
MAX_TITLE = 300
MAX_SNIPPET = 2_000
MAX_LINK = 2_000

TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
UNREADABLE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]")
"""Control characters, and those that show people another text than they show models."""


class Found(msgspec.Struct, frozen=True):
    """One result. All of it is a stranger's text."""

    title: str
    link: str
    snippet: str


class SearchUnavailable(Exception):
    """No results now; the text says what to do, and holds neither the key nor the query."""


Searcher = Literal["searxng", "serper", "tavily", "brave"]


class Service(msgspec.Struct, frozen=True):
    """How one search service is asked, and where its results are."""

    base: str
    path: str
    key_header: str
    key_prefix: str
    method: Literal["GET", "POST"]
    query: str
    """The parameter of the query; `count` that of the number of results."""
    count: str | None
    results: tuple[str, ...]
    proof: str
    """What an answer without any results still has."""
    link: str
    snippet: str
    marked_up: bool = False
    """Titles and snippets are HTML."""


# docs.searxng.org/dev/search_api, serper.dev, docs.tavily.com, api-dashboard.search.brave.com
SERVICES: dict[Searcher, Service] = {
    "searxng": Service(
        base="",
        path="/search",
        key_header="Authorization",
        key_prefix="Bearer ",
        method="GET",
        query="q",
        count=None,
        results=("results",),
        proof="results",
        link="url",
        snippet="content",
    ),
    "serper": Service(
        base="https://google.serper.dev",
        path="/search",
        key_header="X-API-KEY",
        key_prefix="",
        method="POST",
        query="q",
        count="num",
        results=("organic",),
        proof="searchParameters",
        link="link",
        snippet="snippet",
    ),
    "tavily": Service(
        base="https://api.tavily.com",
        path="/search",
        key_header="Authorization",
        key_prefix="Bearer ",
        method="POST",
        query="query",
        count="max_results",
        results=("results",),
        proof="results",
        link="url",
        snippet="content",
    ),
    "brave": Service(
        base="https://api.search.brave.com",
        path="/res/v1/web/search",
        key_header="X-Subscription-Token",
        key_prefix="",
        method="GET",
        query="q",
        count="count",
        results=("web", "results"),
        proof="query",
        link="url",
        snippet="description",
        marked_up=True,
    ),
}


class WebSearch:
    """Results of one service; one instance an event loop."""

    def __init__(
        self,
        service: Searcher,
        url: str | None = None,
        key: str | None = None,
        seconds: float = SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """`url` None: the service's own, which SearXNG has not."""
        self._name = service
        self._service = SERVICES[service]
        self._base = (url or self._service.base).strip().rstrip("/")
        self._key = (key or "").strip()
        self._seconds = seconds
        self._retry_seconds = retry_seconds
        self._client = httpx2.AsyncClient(timeout=seconds)

    async def search(self, query: str, count: int = 8) -> list[Found]:
        """At most `count` results, best first; none for an empty query. Raises SearchUnavailable."""
        words = " ".join(query.split()[:MAX_WORDS])[:MAX_QUERY]
        count = min(count, MAX_COUNT)
        if not words or count < 1:
            return []
        self._require_settings()
        response = await self._ask(words, count)
        self._require_success(response.status_code)
        return list(_results(self._rows(response.content), self._service))[:count]

    async def close(self) -> None:
        await self._client.aclose()

    def _require_settings(self) -> None:
        if not self._base:
            raise SearchUnavailable("the web search has no address: set EVERLOG_WEB_SEARCH_URL")
        if not self._key and self._name != "searxng":
            raise SearchUnavailable("the web search has no key: set EVERLOG_WEB_SEARCH_KEY")

    async def _ask(self, query: str, count: int) -> httpx2.Response:
        """The answer, whatever its status; the second one where the first may pass."""
        try:
            response = await self._once(query, count)
            if response.status_code != 429 and response.status_code < 500:
                return response
        except SearchUnavailable:
            pass
        await asyncio.sleep(self._retry_seconds)
        return await self._once(query, count)

    async def _once(self, query: str, count: int) -> httpx2.Response:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._client.send(self._request(query, count))
        except (TimeoutError, httpx2.TimeoutException):
            raise SearchUnavailable(
                f"the web search ({self._name}) took longer than {self._seconds:g} seconds: try again later"
            ) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
            raise SearchUnavailable(
                f"the web search ({self._name}) cannot be reached: "
                "check EVERLOG_WEB_SEARCH_URL and the network"
            ) from None

    def _request(self, query: str, count: int) -> httpx2.Request:
        service = self._service
        asked: dict[str, Any] = {service.query: query}
        if service.count:
            asked[service.count] = count
        headers = {b"Accept": b"application/json"}
        if self._key:
            headers[service.key_header.encode()] = f"{service.key_prefix}{self._key}".encode()
        url = self._base if self._base.endswith(service.path) else self._base + service.path
        if service.method == "POST":
            return self._client.build_request("POST", url, json=asked, headers=headers)
        if self._name == "searxng":
            asked["format"] = "json"
        return self._client.build_request("GET", url, params=asked, headers=headers)

    def _require_success(self, status: int) -> None:
        if status == 200:
            return
        if status == 403 and self._name == "searxng":
            todo = "add json to search.formats in its settings.yml, and let this server in"
        elif status in (401, 403) or (status == 422 and self._name == "brave"):
            todo = "check EVERLOG_WEB_SEARCH_KEY"
        elif status in (402, 429, 432, 433):  # 432 and 433 are Tavily's
            todo = "its limit is reached; try again later, or raise the plan of the key"
        elif status >= 500:
            todo = "try again later"
        else:
            todo = "check EVERLOG_WEB_SEARCH_URL and what is left on the plan of the key"
        raise SearchUnavailable(f"the web search ({self._name}) answers {status}: {todo}")

    def _rows(self, body: bytes) -> list[Any]:
        try:
            answer = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError):
            answer = None
        rows: Any = answer
        for name in self._service.results:
            rows = rows.get(name, {}) if isinstance(rows, dict) else None
        if rows == {} and self._service.proof in answer:
            return []
        if not isinstance(rows, list):
            raise SearchUnavailable(
                f"the web search ({self._name}) answers something else than results: "
                "check EVERLOG_WEB_SEARCH and EVERLOG_WEB_SEARCH_URL"
            )
        return rows


def _results(rows: Iterable[Any], service: Service) -> Iterator[Found]:
    """Each page once; what has no usable link is left out."""
    seen: set[str] = set()
    for row in rows:
        link = _link(row.get(service.link)) if isinstance(row, dict) else None
        if link is None or link in seen:
            continue
        seen.add(link)
        title, snippet = (_line(row.get(name), service.marked_up) for name in ("title", service.snippet))
        yield Found(title[:MAX_TITLE] or link, link, snippet[:MAX_SNIPPET])


def _link(value: Any) -> str | None:
    """Only http and https; the fragment is left out, which names a place in the same page."""
    if not isinstance(value, str) or len(value) > MAX_LINK:
        return None
    try:
        url = httpx2.URL(value.strip())
    except (httpx2.InvalidURL, ValueError):  # the latter of what is no UTF-8
        return None
    if url.scheme not in ("http", "https") or not url.raw_host or b"%" in url.raw_host or url.userinfo:
        return None
    return str(url.copy_with(fragment=None))


def _line(value: Any, marked_up: bool) -> str:
    if not isinstance(value, str):
        return ""
    text = html.unescape(TAG.sub("", value)) if marked_up else value
    return " ".join(UNREADABLE.sub(" ", text).split())

"""Each search service in its own shape, against a real server."""

import asyncio
import json as stdlib_json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from providers.web.search import Found, SearchUnavailable, WebSearch
from runtime.composition import web_search_of
from runtime.settings import Settings
from tests.support.website import Answer, Website, json

KEY = "search-key-nobody-may-see"
SERVICES = ["searxng", "serper", "tavily", "brave"]
LISBON = Found("Lisbon", "https://lisbon.example/", "Capital of Portugal")
PORTO = Found("Porto", "https://porto.example/a?b=c", "Second city")


@pytest.fixture
def site() -> Iterator[Website]:
    site = Website()
    yield site
    site.close()


def settings(site: Website, name: Any, **others: Any) -> Settings:
    return Settings(**{"web_search": name, "web_search_url": site.url, "web_search_key": KEY} | others)


def search(
    settings: Settings, query: str = "cities of Portugal", count: int = 8, seconds: float = 10.0
) -> list[Found]:
    async def ask() -> list[Found]:
        assert settings.web_search
        engine = WebSearch(
            settings.web_search, settings.web_search_url, settings.web_search_key, seconds, retry_seconds=0.0
        )
        try:
            return await engine.search(query, count)
        finally:
            await engine.close()

    return asyncio.run(ask())


def in_shape_of(name: str, found: list[Found]) -> Any:
    """As the service answers it (their documentation; what nobody reads is left in)."""
    link, snippet = {"serper": ("link", "snippet"), "brave": ("url", "description")}.get(
        name, ("url", "content")
    )
    rows = [
        {"title": one.title, link: one.link, snippet: one.snippet, "position": place, "score": 0.9}
        for place, one in enumerate(found)
    ]
    return {
        "searxng": {"query": "q", "number_of_results": 0, "results": rows, "unresponsive_engines": []},
        "serper": {"searchParameters": {"q": "q", "type": "search"}, "organic": rows, "credits": 1},
        "tavily": {"query": "q", "answer": None, "images": [], "results": rows, "response_time": 1.2},
        "brave": {"type": "search", "query": {"original": "q"}, "web": {"type": "search", "results": rows}},
    }[name]


def parameters(site: Website) -> dict[str, list[str]]:
    return parse_qs(urlsplit(site.asked[0].path).query)


@pytest.mark.parametrize("name", SERVICES)
def test_the_results_of_every_service_are_found_in_their_order(site: Website, name: str) -> None:
    site.script = [json(in_shape_of(name, [LISBON, PORTO]))]
    assert search(settings(site, name)) == [LISBON, PORTO]


def test_searxng_is_asked_for_json(site: Website) -> None:
    site.script = [json(in_shape_of("searxng", []))]
    search(settings(site, "searxng", web_search_key=None))
    assert site.asked[0].method == "GET"
    assert site.asked[0].path.startswith("/search?")
    assert parameters(site) == {"q": ["cities of Portugal"], "format": ["json"]}
    assert "authorization" not in site.asked[0].headers


def test_serper_is_asked_with_its_key_and_the_number_of_results(site: Website) -> None:
    site.script = [json(in_shape_of("serper", []))]
    search(settings(site, "serper"), count=5)
    asked = site.asked[0]
    assert (asked.method, asked.path, asked.headers["x-api-key"]) == ("POST", "/search", KEY)
    assert stdlib_json.loads(asked.body) == {"q": "cities of Portugal", "num": 5}


def test_tavily_is_asked_with_a_bearer_token(site: Website) -> None:
    site.script = [json(in_shape_of("tavily", []))]
    search(settings(site, "tavily"), count=5)
    asked = site.asked[0]
    assert (asked.method, asked.path, asked.headers["authorization"]) == ("POST", "/search", f"Bearer {KEY}")
    assert stdlib_json.loads(asked.body) == {"query": "cities of Portugal", "max_results": 5}


def test_brave_is_asked_with_its_token(site: Website) -> None:
    site.script = [json(in_shape_of("brave", []))]
    search(settings(site, "brave"), count=5)
    asked = site.asked[0]
    assert (asked.method, asked.headers["x-subscription-token"]) == ("GET", KEY)
    assert asked.path.startswith("/res/v1/web/search?")
    assert parameters(site) == {"q": ["cities of Portugal"], "count": ["5"]}


def test_the_markup_of_brave_becomes_plain_text(site: Website) -> None:
    marked_up = Found(
        "<strong>Lisbon</strong>", "https://l.example/", "Fish &amp; <strong>chips</strong>, 1 &lt; 2"
    )
    site.script = [json(in_shape_of("brave", [marked_up]))]
    assert search(settings(site, "brave")) == [Found("Lisbon", "https://l.example/", "Fish & chips, 1 < 2")]


@pytest.mark.parametrize(("name", "part"), [("brave", "web"), ("serper", "organic")])
def test_a_service_that_leaves_out_its_empty_results_found_nothing(
    site: Website, name: str, part: str
) -> None:
    answer = in_shape_of(name, [])
    del answer[part]
    site.script = [json(answer)]
    assert search(settings(site, name)) == []


def test_only_the_first_results_are_kept(site: Website) -> None:
    many = [Found(f"{n}", f"https://site{n}.example/", "") for n in range(30)]
    site.script = [json(in_shape_of("searxng", many))]
    assert search(settings(site, "searxng"), count=3) == many[:3]


def test_a_page_is_found_once_and_only_with_a_link_of_the_web(site: Website) -> None:
    rows: list[Any] = [
        {"title": "a", "url": "https://a.example/#part", "content": "one"},
        {"title": "a again", "url": "https://a.example/#other", "content": "two"},
        *({"title": "no", "url": url} for url in ("javascript:alert(1)", "ftp://a.example/", "file:///etc")),
        *({"title": "no", "url": url} for url in ("https://", "https://u:p@b.example/", "http://[", 7, None)),
        {"title": "no link"},
        "no object",
        None,
        {"title": None, "url": "http://b.example/", "content": ["no", "text"]},
        {"title": "c", "url": "http://xn--a/", "content": "no name"},
        {"title": "d", "url": "http://127.0.0.1xn--/", "content": "no name"},
    ]
    site.script = [json({"results": rows})]
    assert search(settings(site, "searxng")) == [
        Found("a", "https://a.example/", "one"),
        Found("http://b.example/", "http://b.example/", ""),
        Found("c", "http://xn--a/", "no name"),
        Found("d", "http://127.0.0.1xn--/", "no name"),
    ]


def test_control_characters_are_removed_and_long_texts_are_cut(site: Website) -> None:
    strange = Found("a\x00b\n\x1b[31mc\u202ed", "https://a.example/", "word " * 10_000)
    site.script = [json(in_shape_of("searxng", [strange]))]
    (found,) = search(settings(site, "searxng"))
    assert found.title == "a b [31mc d"
    assert len(found.snippet) <= 2_000


def test_a_long_question_is_cut_to_what_every_service_takes(site: Website) -> None:
    site.script = [json(in_shape_of("brave", []))]
    search(settings(site, "brave"), query="why\n" * 1_000)
    (asked,) = parameters(site)["q"]
    assert asked == " ".join(["why"] * 50)


def test_an_empty_question_is_not_asked(site: Website) -> None:
    assert search(settings(site, "searxng"), query=" \n ") == []
    assert search(settings(site, "searxng"), count=0) == []
    assert site.asked == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_once_more(site: Website, status: int) -> None:
    site.script = [json({"error": "later"}, status), json(in_shape_of("serper", [LISBON]))]
    assert search(settings(site, "serper")) == [LISBON]


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_what_will_not_pass_is_not_tried_again(site: Website, status: int) -> None:
    site.script = [json({"message": "no"}, status)]
    with pytest.raises(SearchUnavailable):
        search(settings(site, "serper"))
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    ("name", "status", "todo"),
    [
        ("serper", 403, "EVERLOG_WEB_SEARCH_KEY"),
        ("tavily", 401, "EVERLOG_WEB_SEARCH_KEY"),
        ("brave", 422, "EVERLOG_WEB_SEARCH_KEY"),
        ("searxng", 403, "search.formats"),
        ("brave", 429, "raise the plan"),
        ("tavily", 432, "raise the plan"),
        ("serper", 500, "try again later"),
        ("searxng", 404, "EVERLOG_WEB_SEARCH_URL"),
        ("searxng", 302, "EVERLOG_WEB_SEARCH_URL"),
    ],
)
def test_an_error_says_what_to_do_and_holds_neither_key_nor_question(
    site: Website, name: str, status: int, todo: str
) -> None:
    site.script = [json({"error": f"bad key {KEY}"}, status)] * 2
    with pytest.raises(SearchUnavailable, match=todo) as failure:
        search(settings(site, name))
    assert KEY not in str(failure.value)
    assert "Portugal" not in str(failure.value)


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b'"results"',
        b"\xff",
        b"[" * 100_000,
        b'{"error": "no"}',
        b'{"results": 7, "organic": "x"}',
        b'{"web": {"results": null}}',
        b'{"web": []}',
    ],
    ids=lambda body: body[:12].decode(errors="replace"),
)
def test_garbage_is_no_result_and_no_crash(site: Website, name: str, body: bytes) -> None:
    site.script = [Answer(body)]
    with pytest.raises(SearchUnavailable, match="something else than results"):
        search(settings(site, name))


def test_a_search_that_takes_too_long_is_given_up(site: Website) -> None:
    site.hold = True
    with pytest.raises(SearchUnavailable, match="took longer") as failure:
        search(settings(site, "brave"), seconds=0.1)
    assert KEY not in str(failure.value)
    assert len(site.asked) == 2


def test_a_server_that_is_not_there_is_said(site: Website) -> None:
    with pytest.raises(SearchUnavailable, match="cannot be reached"):
        search(settings(site, "searxng", web_search_url="http://127.0.0.1:1"))


@pytest.mark.parametrize("url", ["no address", "http://[", "ftp://127.0.0.1", "http://x:99999"])
def test_an_address_that_is_none_is_said(site: Website, url: str) -> None:
    with pytest.raises(SearchUnavailable, match="EVERLOG_WEB_SEARCH_URL"):
        search(settings(site, "searxng", web_search_url=url))


@pytest.mark.parametrize("key", [f"{KEY}\nX-Other: 1", f"{KEY}ü", f"{KEY}\x00"])
def test_a_key_that_fits_no_header_is_never_shown(site: Website, key: str) -> None:
    site.pages = {"/search": json({}, 401)}
    with pytest.raises(SearchUnavailable) as failure:
        search(settings(site, "serper", web_search_key=key))
    assert KEY not in str(failure.value)


@pytest.mark.parametrize("path", ["", "/", "/search", "/search/"])
def test_the_address_of_the_service_may_be_given_with_its_path(site: Website, path: str) -> None:
    site.script = [json(in_shape_of("searxng", [LISBON]))]
    assert search(settings(site, "searxng", web_search_url=site.url + path)) == [LISBON]
    assert site.asked[0].path.startswith("/search?")


def test_searxng_without_address_and_others_without_key_say_what_to_set(site: Website) -> None:
    with pytest.raises(SearchUnavailable, match="set EVERLOG_WEB_SEARCH_URL"):
        search(settings(site, "searxng", web_search_url=None))
    with pytest.raises(SearchUnavailable, match="set EVERLOG_WEB_SEARCH_KEY"):
        search(settings(site, "tavily", web_search_key=None))


def test_no_search_is_configured_until_one_is_named() -> None:
    assert web_search_of(Settings()) is None
    assert isinstance(web_search_of(Settings(web_search="searxng")), WebSearch)


def test_what_somebody_searches_for_is_not_logged(site: Website, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    site.script = [json(in_shape_of("searxng", []))]
    search(settings(site, "searxng"))
    assert "Portugal" not in caplog.text
    assert KEY not in caplog.text

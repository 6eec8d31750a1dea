"""The tools of chats at work: real documents and memories, a real site, the real sandbox."""

import asyncio
import base64
import io
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qs, urlsplit

import anyio.to_thread
import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from application.asked import Asked, Caller
from application.chat.chat import Chat
from application.chat.draft import Draft
from application.chat.emission import Emission, Painted
from application.chat.plans import PLANS
from application.chat.toolbox import Toolbox
from application.chat.tools import ALL, RESEARCH_ONLY
from application.chat.tools.code import CODE, Program
from application.chat.tools.diagram import DIAGRAM, Drawing
from application.chat.tools.image import IMAGE, Painting
from application.chat.tools.memories import MEMORIES, Recalling
from application.chat.tools.notes import NOTES, Queries
from application.chat.tools.online import ONLINE
from application.chat.tools.telling import MAX_CHARACTERS, as_json, fenced, listed
from application.chat.tools.tool import Desk, Outcome, Tool, ToolFailed
from application.chat.tools.webpage import WEBPAGE, Addresses, addresses_in
from application.engine import Engine
from application.limits import Limits
from application.query_filters import chosen, without_filters
from domain.document import DocumentIndexed, IndexDocument, RemoveDocument, id_of
from domain.ids import new_id
from domain.key import ALL_SCOPES, Terms
from domain.memory import AddMemory
from domain.scope import Scope
from providers.models.chat_model import strict_schema
from providers.models.streamed_answer import Call
from providers.sandbox import sandbox
from providers.sandbox.sandbox import Sandbox
from providers.web.page import Browser
from runtime.composition import chat_options_of, engine_of, means_of
from runtime.settings import Settings
from tests.support.endpoint import Endpoint
from tests.support.service import Service, eventually
from tests.support.website import Answer, Website, html, json

ANN_KEY = Asked(Caller("default", "key-of-ann", ALL_SCOPES), "request-1")
STRANGER = Asked(Caller("another", "key-of-a-stranger", ALL_SCOPES), "request-2")
CAT = "Zorblax the cat sleeps on the warm radiator all winter."
BOAT = "The boat needs new sails before the regatta in June."
SECRET = "sk-secret-of-tests"

needs_sandbox = pytest.mark.skipif(not sandbox.available(), reason="the extra `code` is not installed")


class Studio(msgspec.Struct):
    """An engine in an event loop of its own, and what a turn's tools need of it."""

    runner: asyncio.Runner
    engine: Engine
    settings: Settings

    def chat(self, limits: Limits | None = None, **more: Any) -> Chat:
        """What reads pages of this machine alone."""
        settings = msgspec.structs.replace(self.settings, **more)
        browser = Browser(allow=lambda address: address.is_loopback, ports=range(1, 65536))
        means = means_of(settings, browser)
        return Chat(self.engine, means, chat_options_of(settings), limits or Limits(None))

    def use(
        self, tool: Tool, arguments: Any, *, settings: dict[str, Any] | None = None, **desk: Any
    ) -> "Used":
        return self.runner.run(self.using(tool, arguments, settings or {}, desk))

    async def using(
        self, tool: Tool, arguments: Any, settings: dict[str, Any], given: dict[str, Any]
    ) -> "Used":
        chat = self.chat(**settings)
        if "sandbox" in given:
            chat.means = msgspec.structs.replace(chat.means, sandbox=given.pop("sandbox"))
        said: list[str] = []
        usual: dict[str, Any] = {
            "asked": ANN_KEY, "user_id": None, "question": "?", "notes": 5, "files": (), "addresses": set(),
        }  # fmt: skip
        desk = Desk(chat=chat, say=said.append, **{**usual, **given})
        try:
            return Used(said, desk.addresses, outcome=await tool.run(desk, arguments))
        except ToolFailed as failed:
            return Used(said, desk.addresses, failed=str(failed))
        finally:
            await chat.close()

    def do(self, asked: Asked, *commands: Any) -> None:
        self.runner.run(self.engine.execute(asked, list(commands)))


class Used(msgspec.Struct):
    """What came of a call, and what the user was told meanwhile."""

    said: list[str]
    addresses: set[str]
    outcome: Outcome = Outcome(told="")
    failed: str = ""

    @property
    def told(self) -> Any:
        assert not self.failed
        assert len(self.outcome.told) <= MAX_CHARACTERS + 500
        return msgspec.json.decode(self.outcome.told)


@pytest.fixture(scope="module")
def studio(service: Service) -> Iterator[Studio]:
    with asyncio.Runner() as runner:
        engine = engine_of(service.settings)
        runner.run(engine.open())
        yield Studio(runner, engine, service.settings)
        runner.run(engine.close())


@pytest.fixture
def site() -> Iterator[Website]:
    site = Website()
    yield site
    site.close()


def document(user: str | None, name: str, text: str, owner: str = "default") -> tuple[Any, IndexDocument]:
    indexed = DocumentIndexed(
        scope=Scope(owner=owner, user_id=user), name=name, text=text, size=len(text), media_type="text/plain"
    )
    return id_of(owner, user, name), IndexDocument(indexed=indexed)


@pytest.fixture
def synced(studio: Studio, user: str) -> str:
    """A user with three documents, two of which are in a folder."""
    studio.do(
        ANN_KEY,
        document(user, "pets.md", CAT),
        document(user, "plans/boat.md", BOAT),
        document(user, "plans/house.md", "The roof of the house leaks above the radiator."),
    )
    return user


def page_of(text: str) -> Answer:
    return html(f"<html><head><title>T</title></head><body><article><p>{text}</p></article></body></html>")


# --- all tools --------------------------------------------------------------------------------------


def test_tools_are_named_as_their_commands_and_a_strict_model_can_call_each() -> None:
    assert list(ALL) == ["notes", "online", "webpage", "code", "image", "diagram", "memories"]
    assert {"memories"} == RESEARCH_ONLY
    for tool in ALL.values():
        assert strict_schema(tool.arguments)["required"]
        assert len(tool.description) > 50
        assert tool.missing()


def test_what_is_not_configured_is_not_offered_and_says_what_to_set(studio: Studio) -> None:
    chat = studio.chat()
    chat.means = msgspec.structs.replace(chat.means, sandbox=None)
    ready = {name for name, tool in ALL.items() if tool.available(chat)}
    studio.runner.run(chat.close())
    assert ready == {"notes", "webpage", "diagram", "memories"}
    assert "EVERLOG_WEB_SEARCH" in ONLINE.missing()
    assert "EVERLOG_IMAGE_MODEL" in IMAGE.missing()
    assert "./everlog install code" in CODE.missing()


def test_a_guess_is_made_of_the_question_where_that_makes_sense() -> None:
    assert NOTES.guess('sails? file:"boat.md"') == Queries(["sails?"])
    assert ONLINE.guess("news of Lisbon") == Queries(["news of Lisbon"])
    assert WEBPAGE.guess("read https://a.example/b.") == Addresses(["https://a.example/b"])
    assert WEBPAGE.guess("read it") is None
    assert IMAGE.guess("a cat") == Painting("a cat")
    assert MEMORIES.guess("my cat") == Recalling("my cat")
    assert CODE.guess("7 * 6") is None
    assert DIAGRAM.guess("a flow") is None


@pytest.mark.parametrize("tool", [NOTES, ONLINE, IMAGE, MEMORIES], ids=lambda tool: tool.command)
@pytest.mark.parametrize("nothing", ["", " \n", "\x00"])
def test_a_call_that_asks_for_nothing_fails_in_words(
    studio: Studio, synced: str, tool: Any, nothing: str
) -> None:
    arguments = tool.arguments([nothing] if "queries" in tool.arguments.__struct_fields__ else nothing)
    set_up = {"web_search": "searxng", "web_search_url": "http://127.0.0.1:9", "openai_base_url": "http://x"}
    used = studio.use(tool, arguments, user_id=synced, settings=set_up | {"image_model": "painter"})
    assert "needs" in used.failed
    assert used.said == []


# --- notes ------------------------------------------------------------------------------------------


def test_notes_finds_passages_and_says_where(studio: Studio, synced: str) -> None:
    used = studio.use(NOTES, Queries(["where does the cat sleep", "sails for the boat"]), user_id=synced)
    assert {"file": "pets.md", "text": CAT} in used.told
    assert {"file": "plans/boat.md", "text": BOAT} in used.told
    assert used.said[0] == "**Searching Documents for:** \n- where does the cat sleep\n- sails for the boat"
    assert used.said[1].startswith("**Found 3 Notes Across 3 Files**:\n- ")
    assert "\n- plans/boat.md" in used.said[1]
    notes = used.outcome.references.notes
    assert len({note.text for note in notes}) == len(notes) == 3
    assert next(note.query for note in notes if note.file == "pets.md") == "where does the cat sleep"


def test_notes_finds_no_more_than_asked_for_by_a_query(studio: Studio, synced: str) -> None:
    used = studio.use(NOTES, Queries(["where does the cat sleep"]), user_id=synced, notes=1)
    assert used.told == [{"file": "pets.md", "text": CAT}]


def test_notes_looks_only_in_the_files_of_the_conversation(studio: Studio, synced: str) -> None:
    used = studio.use(NOTES, Queries(["the cat"]), user_id=synced, files=("plans/boat.md", "gone.md"))
    assert {item["file"] for item in used.told} <= {"plans/boat.md"}
    used = studio.use(NOTES, Queries(["the cat"]), user_id=synced, files=("gone.md",))
    assert "limited to" in used.failed


def test_notes_obeys_the_file_filters_of_the_question(studio: Studio, synced: str) -> None:
    def files(question: str) -> set[str]:
        used = studio.use(NOTES, Queries(["radiator"]), user_id=synced, question=question)
        return {item["file"] for item in used.told}

    assert files('radiator? file:"pets.md"') == {"pets.md"}
    assert "pets.md" not in files('radiator? -file:"pets.md"')
    assert files('radiator? file:"plans/*" -file:"boat.md"') == {"plans/house.md"}


def test_notes_of_others_are_never_searched(studio: Studio, synced: str, user: str) -> None:
    stranger = studio.use(NOTES, Queries(["cat"]), user_id=synced, asked=STRANGER)
    neighbour = studio.use(NOTES, Queries(["cat"]), user_id=f"not-{user}")
    for used in (stranger, neighbour):
        assert "Nothing is synced" in used.failed
        assert "PATCH /api/content" in used.failed
        assert used.said == []


def test_notes_without_a_user_are_those_of_nobody(studio: Studio, synced: str) -> None:
    own = document(None, f"{synced}.md", "The owner keeps bees behind the shed.")
    studio.do(ANN_KEY, own)
    used = studio.use(NOTES, Queries(["where are the bees"]))
    studio.do(ANN_KEY, (own[0], RemoveDocument()))
    assert {item["file"] for item in used.told} == {f"{synced}.md"}


def test_notes_of_many_long_passages_are_cut_and_still_json(studio: Studio, user: str) -> None:
    texts = {f"{n}.md": f'The "sails" of boat {n}\n' + f"sail{n} \\ ⛵ " * 150 for n in range(6)}
    studio.do(ANN_KEY, *(document(user, name, text) for name, text in texts.items()))
    used = studio.use(NOTES, Queries(["sails", "boat"]), user_id=user, notes=10)
    assert {item["file"] for item in used.told} == set(texts)
    assert any(item["text"].endswith("…") for item in used.told)
    assert len(used.outcome.told) <= MAX_CHARACTERS
    assert not any("…" in note.text for note in used.outcome.references.notes)


def test_filters_are_taken_out_of_what_is_searched() -> None:
    assert without_filters('sails  file:"a b.md" for -FILE:"x" the boat') == "sails for the boat"
    assert without_filters(' my profile:"x" ') == 'my profile:"x"'


def test_a_filter_names_a_path_or_the_last_part_of_it_literally() -> None:
    documents = ["a/b.md", "b.md", "[x]?.md", "c.org"]
    assert chosen(documents, (), 'file:"b.md"') == ["a/b.md", "b.md"]
    assert chosen(documents, (), 'file:"a/b.md"') == ["a/b.md"]
    assert chosen(documents, (), 'file:"[x]?.md"') == ["[x]?.md"]
    assert chosen(documents, (), 'file:"*.org" file:"a/*"') == ["a/b.md", "c.org"]
    assert chosen(documents, ["b.md"], 'file:"b.md"') == ["b.md"]
    assert chosen(documents, (), '-file:"*"') == []
    assert chosen(documents, (), 'file:""') == []


# --- online -----------------------------------------------------------------------------------------


def searching(site: Website) -> dict[str, Any]:
    return {"web_search": "searxng", "web_search_url": site.url}


def results(*links: tuple[str, str]) -> Answer:
    return json({"results": [{"title": title, "url": url, "content": "snippet"} for title, url in links]})


def test_online_searches_and_reads_the_best_page_of_each_query(studio: Studio, site: Website) -> None:
    site.pages["/search"] = results(("Lisbon", f"{site.url}/lisbon"), ("Porto", f"{site.url}/porto"))
    site.pages["/lisbon"] = page_of("Lisbon is the capital of Portugal. " * 10)
    used = studio.use(ONLINE, Queries(["capital of Portugal", "Lisbon"]), settings=searching(site))
    assert used.said == [
        "**Searching the web for**: \n- capital of Portugal\n- Lisbon",
        f"**Browsing**: \n- {site.url}/lisbon",
    ]
    assert [row["title"] for row in used.told["results"]] == ["Lisbon", "Porto"] * 2
    assert "capital of Portugal" in used.told["pages"][0]["text"]
    assert used.addresses == {f"{site.url}/lisbon", f"{site.url}/porto"}
    searches = used.outcome.references.searches
    assert [search.query for search in searches] == ["capital of Portugal", "Lisbon"]
    assert searches[0].links[1].url == f"{site.url}/porto"
    (page,) = used.outcome.references.pages
    assert (page.url, page.query) == (f"{site.url}/lisbon", "capital of Portugal")


def test_online_asks_no_more_than_three_queries(studio: Studio, site: Website) -> None:
    site.pages["/search"] = results()
    used = studio.use(ONLINE, Queries(["a", "b", "a ", "c", "d"]), settings=searching(site))
    assert sorted(parse_qs(urlsplit(asked.path).query)["q"][0] for asked in site.asked) == ["a", "b", "c"]
    assert used.told == {"results": [], "pages": []}
    assert len(used.said) == 1


def test_online_tells_of_results_whose_page_cannot_be_read(studio: Studio, site: Website) -> None:
    site.pages["/search"] = results(("Lisbon", f"{site.url}/gone"))
    used = studio.use(ONLINE, Queries(["Lisbon"]), settings=searching(site))
    assert used.said[-1] == f"**Skipped web pages**: \n- {site.url}/gone: the site answers 404"
    assert used.told["results"][0]["title"] == "Lisbon"
    assert used.told["pages"] == [{"url": f"{site.url}/gone", "error": "the site answers 404"}]
    assert used.outcome.references.pages == ()


def test_online_fails_in_words_that_hold_no_query_and_no_key(studio: Studio, site: Website) -> None:
    site.pages["/search"] = Answer(b"no", 403)
    settings = searching(site) | {"web_search_key": SECRET}
    used = studio.use(ONLINE, Queries(["my illness", "my rent"]), settings=settings)
    assert used.failed.startswith("Online search failed: the web search (searxng) answers 403")
    assert used.failed.count("403") == 1
    assert not any(word in used.failed for word in (SECRET, "illness", "rent"))


def test_online_goes_on_with_the_searches_that_are_answered(studio: Studio, site: Website) -> None:
    site.pages["/search"] = results(("Lisbon", f"{site.url}/lisbon"))
    site.script = [Answer(b"no", 404)]
    used = studio.use(ONLINE, Queries(["a", "b"]), settings=searching(site))
    assert len(used.outcome.references.searches) == 1
    assert any(line.startswith("**Some searches failed**: \n- the web search") for line in used.said)


def test_online_that_is_not_configured_says_so(studio: Studio) -> None:
    assert "EVERLOG_WEB_SEARCH" in studio.use(ONLINE, Queries(["a"])).failed


def test_online_of_endless_results_and_pages_stays_short(studio: Studio, site: Website) -> None:
    rows = [("T" * 300, f"{site.url}/{n}" + "x" * 1_500) for n in range(20)]
    site.pages["/search"] = results(*rows)
    site.pages[urlsplit(rows[0][1]).path] = page_of('"Quoted" words. ' * 5_000)
    used = studio.use(ONLINE, Queries(["a", "b", "c"]), settings=searching(site))
    assert 0 < len(used.told["results"]) <= 24
    assert used.told["pages"][0]["url"] == rows[0][1]
    assert len(used.outcome.told) <= MAX_CHARACTERS + 100
    assert all(len(page.text) <= MAX_CHARACTERS + 1 for page in used.outcome.references.pages)


# --- webpage ----------------------------------------------------------------------------------------


def test_webpage_reads_what_the_user_named(studio: Studio, site: Website) -> None:
    site.pages["/a"] = page_of("The harbour of Lisbon was rebuilt after the earthquake. " * 5)
    used = studio.use(WEBPAGE, Addresses([f"{site.url}/a"]), addresses={f"{site.url}/a"}, question="Why?")
    assert used.said == [f"**Browsing**: \n- {site.url}/a", f"**Read web pages**: \n- {site.url}/a"]
    assert "harbour" in used.told[0]["text"]
    (page,) = used.outcome.references.pages
    assert (page.url, page.query) == (f"{site.url}/a", "Why?")


def test_webpage_reads_the_known_address_however_the_model_spells_it(studio: Studio, site: Website) -> None:
    site.pages["/a/"] = page_of("The harbour of Lisbon was rebuilt after the earthquake. " * 5)
    spelled = f"HTTP://127.0.0.1:{site.port}/a#leaked"
    used = studio.use(WEBPAGE, Addresses([spelled]), addresses={f"{site.url}/a/"})
    assert not used.failed
    assert [asked.path for asked in site.asked] == ["/a/"]


@pytest.mark.parametrize("leak", ["/a?secret=1", "/b", "/a/secret", "/A"])
def test_webpage_asks_for_no_other_address(studio: Studio, site: Website, leak: str) -> None:
    used = studio.use(WEBPAGE, Addresses([site.url + leak]), addresses={f"{site.url}/a"})
    assert "user wrote" in used.failed
    assert site.asked == []
    assert used.said == []


def test_webpage_says_which_pages_it_could_not_read(studio: Studio, site: Website) -> None:
    site.pages["/a"] = page_of("The harbour of Lisbon was rebuilt after the earthquake. " * 5)
    known = {f"{site.url}/a", f"{site.url}/gone"}
    used = studio.use(
        WEBPAGE, Addresses([*sorted(known), "http://[", "http://other.example"]), addresses=known
    )
    assert [sorted(item) for item in used.told] == [["text", "url"], ["error", "url"], ["error", "url"]]
    assert used.told[1]["error"] == "the site answers 404"


def test_webpage_whose_pages_all_fail_fails_in_words(studio: Studio, site: Website) -> None:
    urls = [f"{site.url}/gone", f"{site.url}/missing"]
    used = studio.use(WEBPAGE, Addresses(urls), addresses=set(urls))
    assert used.failed == "No page could be read: the site answers 404."


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see https://a.example/b?c=d&e=f#g, then", ["https://a.example/b?c=d&e=f#g"]),
        ("(https://a.example)", ["https://a.example"]),
        ("[a](https://a.example/x), [b](http://b.example/)!", ["https://a.example/x", "http://b.example/"]),
        ("https://en.wikipedia.org/wiki/Set_(game).", ["https://en.wikipedia.org/wiki/Set_(game)"]),
        ("<HTTPS://A.example/X> 'http://b.example/Moore's_law'", None),
        ("**https://a.example/x**", ["https://a.example/x"]),
        ("www.a.example/b and https://www.a.example/b", ["https://www.a.example/b"]),
        ("请看https://a.example/文。好", ["https://a.example/文"]),
        ("https://a.example https://a.example", ["https://a.example"]),
        ("file:///etc/passwd ftp://a.example javascript:alert(1) a.example mail@www", []),
        ("https:// http://) https://[ www.", []),
        ("http://xn--a, http://a.xn--", ["http://xn--a", "http://a.xn--"]),
    ],
)
def test_addresses_are_found_as_people_write_them(text: str, found: list[str] | None) -> None:
    assert addresses_in(text) == (
        ["HTTPS://A.example/X", "http://b.example/Moore's_law"] if found is None else found
    )


WORDS = st.text(alphabet="abc é.,()[]*\n\"'<>\x00\ud7ff:/?#@%wht", max_size=40)


@given(st.lists(WORDS | st.sampled_from(["https://a.example/x", "www.b.example", "http://"])))
def test_every_address_found_is_in_the_text_and_can_be_parsed(parts: list[str]) -> None:
    text = "".join(parts)
    addresses = addresses_in(text)
    assert len(set(addresses)) == len(addresses)
    for address in addresses:
        assert address in text or address.removeprefix("https://") in text
        assert httpx.URL(address).host


@given(st.text(alphabet="abc/?=&-", max_size=20))
def test_an_address_between_spaces_is_found_whole(path: str) -> None:
    address = f"https://a.example/{path}"
    assert addresses_in(f"read {address.rstrip('?')} now") == [address.rstrip("?")]


def test_a_hostile_megabyte_is_looked_through_at_once() -> None:
    for text in ("https://a" + ")" * 1_000_000, "https://a(" * 100_000, "www." * 250_000):
        assert len(addresses_in(text)) <= 1
    assert len(addresses_in(" ".join(f"https://a.example/{n}" for n in range(50_000)))) == 200


# --- code -------------------------------------------------------------------------------------------


@pytest.fixture
def box(compiled: Path) -> Sandbox:
    return Sandbox(compiled, seconds=30.0)


@needs_sandbox
def test_code_runs_and_gives_back_what_it_printed_and_wrote(studio: Studio, box: Sandbox) -> None:
    program = "print(6 * 7)\nopen('a.csv', 'w').write('1,2')"
    used = studio.use(CODE, Program(program), sandbox=box)
    assert used.said == [f"**Running code snippet**:\n```python\n{program}\n```"]
    assert used.told == {"success": True, "output": "42\n", "errors": "", "files": ["a.csv"]}
    (run,) = used.outcome.references.runs
    assert (run.code, run.success, run.output) == (program, True, "42\n")
    assert base64.b64decode(run.files[0].base64) == b"1,2"
    assert run.seconds > 0


@needs_sandbox
def test_code_that_fails_is_told_with_its_last_words(studio: Studio, box: Sandbox) -> None:
    program = "print('x' * 50_000)\nraise ValueError('y' * 5_000 + ' the reason')"
    used = studio.use(CODE, Program(program), sandbox=box)
    assert used.told["success"] is False
    assert used.told["output"].startswith("xxx")
    assert used.told["errors"].rstrip().endswith("the reason")


ENDLESS = "open('started', 'w')\nwhile True: pass"


def running(compiled: Path) -> list[Path]:
    """The programs that began and are not yet cleared away."""
    return list((compiled / "sandbox" / "runs").glob("*/started"))


@needs_sandbox
def test_endless_code_of_one_owner_keeps_no_thread_and_no_other_owner(studio: Studio, compiled: Path) -> None:
    box = Sandbox(compiled, seconds=600.0)
    box.prepare()

    def using(program: str, asked: Asked) -> "asyncio.Task[Used]":
        given = {"sandbox": box, "asked": asked}
        return asyncio.create_task(studio.using(CODE, Program(program), {}, given))

    async def use() -> None:
        endless = [using(ENDLESS, ANN_KEY) for _ in range(12)]
        await asyncio.to_thread(eventually, lambda: running(compiled))
        assert anyio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
        assert (await using("print(7)", STRANGER)).told["output"] == "7\n"
        assert not any(turn.done() for turn in endless)
        for turn in endless:
            turn.cancel()
        await asyncio.gather(*endless, return_exceptions=True)

    studio.runner.run(use())
    eventually(lambda: not running(compiled))


@needs_sandbox
def test_code_that_goes_on_keeps_nobody_who_stops_waiting(studio: Studio, compiled: Path) -> None:
    box = Sandbox(compiled, seconds=600.0)
    box.prepare()

    async def stop() -> None:
        turn = asyncio.create_task(studio.using(CODE, Program(ENDLESS), {}, {"sandbox": box}))
        await asyncio.to_thread(eventually, lambda: running(compiled))
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn

    studio.runner.run(stop())
    eventually(lambda: not running(compiled))
    assert studio.use(CODE, Program("print(7)"), sandbox=box).told["output"] == "7\n"


def test_code_without_the_sandbox_says_what_to_install(studio: Studio) -> None:
    assert "./everlog install code" in studio.use(CODE, Program("1"), sandbox=None).failed


@needs_sandbox
def test_code_on_a_disk_that_takes_nothing_fails_in_words(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    used = studio.use(CODE, Program("1"), sandbox=Sandbox(tmp_path / "file"))
    assert "could not be run" in used.failed


# --- image and diagram ------------------------------------------------------------------------------


def picture() -> str:
    written = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()


@pytest.fixture
def painter() -> Iterator[Endpoint]:
    endpoint = Endpoint(lambda _: (200, {"created": 1, "data": [{"b64_json": picture()}]}))
    yield endpoint
    endpoint.close()


def painting(painter: Endpoint) -> dict[str, Any]:
    return {"openai_base_url": painter.url, "openai_api_key": SECRET, "image_model": "painter-1"}


def test_image_paints_the_prompt(studio: Studio, painter: Endpoint) -> None:
    used = studio.use(IMAGE, Painting(" a cat\nat dawn "), settings=painting(painter))
    assert used.said == ["**Painting to Imagine**: \n- a cat at dawn"]
    assert used.outcome.images[0].startswith("data:image/webp;base64,")
    assert painter.asked[0]["prompt"] == "a cat\nat dawn"
    assert "base64" not in used.outcome.told


@pytest.mark.parametrize("status", [400, 500])
def test_image_that_is_not_painted_fails_in_words(studio: Studio, painter: Endpoint, status: int) -> None:
    painter.usual = lambda _: (status, {"error": {"message": f"no cat for {SECRET}", "code": "policy"}})
    used = studio.use(IMAGE, Painting("a cat"), settings=painting(painter))
    assert used.failed.startswith("Failed to generate image: ")
    assert not any(word in used.failed for word in (SECRET, "cat"))


def test_what_is_not_painted_is_not_counted_and_two_pictures_are_told_of_as_two(
    studio: Studio, painter: Endpoint
) -> None:
    emitted: list[Emission] = []
    draft = Draft(emitted.append, None)
    caller = Caller(f"owner-{new_id()}", "key-of-a-painter", ALL_SCOPES, Terms(plan="free"))
    allowed = PLANS["free"].images

    async def paint(times: int) -> list[str]:
        limits = Limits(studio.settings.redis_url)
        chat = studio.chat(limits, **painting(painter))
        desk = Desk(
            chat=chat, asked=Asked(caller, "request"), user_id=None, question="?", notes=5, files=(),
            addresses=set(), say=draft.status,
        )  # fmt: skip
        toolbox = Toolbox(desk, draft, None)
        told: list[str] = []
        for _ in range(times):
            call = Call("id", "image", msgspec.json.encode({"prompt": str(new_id())}).decode())
            told.append((await toolbox.call([call], ""))[1]["content"])
        await chat.close()
        await limits.close()
        return told

    usual, painter.usual = painter.usual, lambda _: (400, {"error": {"message": "no", "code": "policy"}})
    assert all("Failed to generate" in answer for answer in studio.runner.run(paint(allowed)))
    painter.usual = usual
    *painted, refused = studio.runner.run(paint(allowed + 1))
    assert all("painted" in answer for answer in painted)
    assert "used up" in refused
    draft.say("Here.")
    (made,) = [emission for emission in emitted if isinstance(emission, Painted)]
    assert len(made.images) == allowed
    draft.take_in(Outcome(told="", images=("one more",)))
    assert isinstance(emitted[-1], Painted)
    assert len(emitted[-1].images) == allowed + 1


def test_diagram_is_checked_and_shown(studio: Studio) -> None:
    used = studio.use(DIAGRAM, Drawing('flowchart TD\n  a["Start"] --> b["End"]'))
    assert used.outcome.diagram
    assert "a[" in used.outcome.diagram
    assert used.said == [f"**Diagram to Create:**:\n```mermaid\n{used.outcome.diagram}\n```"]
    assert used.told


def test_diagram_that_is_none_fails_with_its_line_and_what_to_do(studio: Studio) -> None:
    used = studio.use(DIAGRAM, Drawing('flowchart TD\n  a["Start" --> b'))
    assert "line 2" in used.failed
    assert "again" in used.failed
    assert used.outcome.diagram is None


def test_a_diagram_that_takes_long_to_read_holds_up_nobody(studio: Studio) -> None:
    drawing = Drawing("sequenceDiagram\n" + "A@{" * 6_500)

    async def longest_pause() -> float:
        using, longest = asyncio.create_task(studio.using(DIAGRAM, drawing, {}, {})), 0.0
        while not using.done():
            before = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - before)
        assert "cannot be drawn" in (await using).failed or not find_spec("merman")
        return longest

    assert studio.runner.run(longest_pause()) < 0.8  # where merman has a wheel, it takes its whole second


# --- memories ---------------------------------------------------------------------------------------


def test_memories_finds_what_is_remembered_of_this_user_alone(studio: Studio, user: str) -> None:
    def add(text: str, user_id: str | None) -> tuple[Any, AddMemory]:
        return new_id(), AddMemory(text=text, scope=Scope(owner="default", user_id=user_id))

    studio.do(ANN_KEY, add(f"The cat of {user} is called Zorblax", user), add("Nobody's cat is Mimi", None))
    used = studio.use(MEMORIES, Recalling("name of the cat"), user_id=user)
    assert [item["text"] for item in used.told] == [f"The cat of {user} is called Zorblax"]
    assert used.said == ["**Searching Memories for:** \n- name of the cat", "**Found 1 Memories**"]
    assert used.outcome.references.memories[0].text == used.told[0]["text"]
    nobody = studio.use(MEMORIES, Recalling("name of the cat"))
    assert [item["text"] for item in nobody.told] == ["Nobody's cat is Mimi"]
    assert studio.use(MEMORIES, Recalling("cat"), user_id=user, asked=STRANGER).told == []


def test_memories_are_not_offered_where_chats_use_none(studio: Studio) -> None:
    modes = get_args(Settings.__annotations__["chat_memory"])
    offered: list[bool] = []
    for mode in modes:
        chat = studio.chat(chat_memory=mode)
        offered.append(MEMORIES.available(chat))
        studio.runner.run(chat.close())
    assert dict(zip(modes, offered, strict=True))["disabled"] is False
    assert sum(offered) == 2


def test_searches_without_a_database_fail_in_words(studio: Studio, synced: str) -> None:
    engine = engine_of(studio.settings)
    studio.runner.run(engine.open())
    studio.use(NOTES, Queries(["cat"]), user_id=synced)
    studio.runner.run(engine.close())
    away = Studio(studio.runner, engine, studio.settings)
    for tool, arguments in ((NOTES, Queries(["my rent"])), (MEMORIES, Recalling("my rent"))):
        failed = away.use(tool, arguments, user_id=synced).failed
        assert "try again" in failed
        assert "rent" not in failed


# --- what is said -----------------------------------------------------------------------------------

TEXT = st.text(max_size=300)


@given(st.lists(st.fixed_dictionaries({"file": st.text(max_size=20), "text": TEXT})), st.integers(2, 2_000))
def test_what_is_told_is_json_within_its_bounds_and_in_its_order(items: list[Any], most: int) -> None:
    text = as_json(items, most)
    assert len(text) <= most
    kept = msgspec.json.decode(text)
    for before, after in zip(items, kept, strict=False):
        assert after["file"] == before["file"]
        assert before["text"].startswith(after["text"].removesuffix("…")) or before["text"] == after["text"]
    if len(msgspec.json.encode(items).decode()) <= most and all(len(i["text"]) <= most for i in items):
        assert kept == items


def test_short_texts_leave_their_room_to_long_ones() -> None:
    short, long = msgspec.json.decode(as_json([{"text": "short"}, {"text": "x" * 1_000}], 500))
    assert short == {"text": "short"}
    assert len(long["text"]) > 450


@given(st.text(alphabet="`a\n", max_size=60))
def test_code_cannot_leave_its_fence(text: str) -> None:
    first, *_, last = fenced(text, "python").split("\n")
    assert first == f"{last}python"
    assert last not in text


def test_a_status_keeps_each_item_on_its_line() -> None:
    assert listed(["a\n# b", "c" * 1_000]).count("\n") == 2

"""`everlog keys`, and what the keys that it makes may do from then on."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest

from application import keys
from domain.errors import Revoked
from domain.eventstore.cells import Cells
from domain.ids import new_id
from domain.key import ALL_SCOPES, KeyCreated, KeyReplaced, Terms
from domain.recorded import format_of, now
from runtime.cli import main
from runtime.composition import cells_of
from tests.support.problems import is_problem
from tests.support.service import MASTER, Service, eventually


@pytest.fixture(autouse=True)
def of_the_service(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = service.settings
    monkeypatch.setenv("EVERLOG_DATABASE_URL", settings.database_url or "")
    monkeypatch.setenv("EVERLOG_MASTER_KEY", settings.master_key or "")
    monkeypatch.setenv("EVERLOG_DATA_DIR", settings.data_dir)


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Any:
    """What `everlog keys …` answers to a machine."""

    def answer(line: str) -> Any:
        main(["keys", *line.split(), "--json"])
        return msgspec.json.decode(capsys.readouterr().out)

    return answer


@pytest.fixture
def operating(service: Service) -> Iterator[Cells]:
    """As commands open them."""
    with closing(cells_of(service.settings)) as cells:
        yield cells


def refused(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["keys", *line.split()])
    assert ended.value.code == 2
    return capsys.readouterr().err


def listed(typed: Any, id: str) -> Any:
    (key,) = (key for key in typed("list") if key["id"] == id)
    return key


def reading(service: Service, key: str) -> httpx.Response:
    return httpx.get(f"{service.url}/v1/memories", headers={"X-API-Key": key})


def test_a_key_is_good_until_the_day_that_it_expires(service: Service, typed: Any) -> None:
    day = (now() + timedelta(days=2)).date()
    made = typed(f"create --name k --expires {day}")
    assert reading(service, made["key"]).status_code == 200
    assert listed(typed, made["id"])["expires_at"] == f"{day}T00:00:00+00:00"


def test_an_expired_key_is_401_and_is_told_so(service: Service, typed: Any) -> None:
    soon = now() + timedelta(seconds=2)
    made = typed(f"create --name k --expires {soon.isoformat()}")
    eventually(lambda: reading(service, made["key"]).status_code == 401)
    assert now() >= soon
    answer = reading(service, made["key"])
    is_problem(answer, 401)
    assert "expired" in answer.json()["detail"]


@pytest.mark.parametrize(("dialect", "path", "field"), [
    ("memokit", "/memokit/v1/memories", "error"), ("mem0", "/mem0/v1/ping/", "detail"),
    ("memorystack", "/api/v1/memories", "error"), ("khoj", "/api/v1/user", "error"),
])  # fmt: skip
def test_an_expired_key_is_refused_in_the_shape_of_its_contract(
    service: Service, dialect: str, path: str, field: str
) -> None:
    secret, terms = f"expired-{dialect}", Terms(dialect=dialect)
    past = now() - timedelta(seconds=1)
    service.worker.cells.create_key(secret, "k", "default", ("read",), terms, expires_at=past)
    answer = httpx.get(service.url + path, headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 401
    assert "expired" in str(answer.json()[field]).lower()


@pytest.mark.parametrize(("text", "why"), [
    ("2020-01-31", "is over already"), ("soon", "neither a day"), ("2027-02-30", "neither a day"),
])  # fmt: skip
def test_an_expiry_that_is_none_is_refused(text: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert why in refused(f"create --name k --expires {text}", capsys)


def test_a_rotated_key_goes_on_for_the_overlap_and_the_new_one_may_do_the_same(
    service: Service, typed: Any
) -> None:
    old = typed("create --name phone --owner rotating --scopes read --per-minute 50 --dialect memokit")
    new = typed(f"rotate {old['id']} --overlap 7d")
    assert new["key"] != old["key"] and new["key"].startswith("mk_")
    before, after = listed(typed, old["id"]), listed(typed, new["id"])
    kept = ("name", "owner", "scopes", "dialect", "per_minute", "per_month", "plan")
    assert [before[name] for name in kept] == [after[name] for name in kept]
    assert (before["replaced_by"], after["replaced_by"]) == (new["id"], None)
    end = datetime.fromisoformat(before["expires_at"])
    assert timedelta(days=6.99) < end - datetime.now(UTC) <= timedelta(days=7)
    assert after["expires_at"] is None
    for key in (old["key"], new["key"]):
        url = f"{service.url}/memokit/v1/memories"
        assert httpx.get(url, headers={"Authorization": f"Bearer {key}"}).status_code == 200


def test_without_an_overlap_the_old_key_is_refused_within_a_second(service: Service, typed: Any) -> None:
    old = typed("create --name k")
    assert reading(service, old["key"]).status_code == 200
    new = typed(f"rotate {old['id']} --overlap 0s")
    assert reading(service, new["key"]).status_code == 200
    eventually(lambda: reading(service, old["key"]).status_code == 401)


def test_a_rotation_makes_no_key_live_longer(typed: Any) -> None:
    day = (now() + timedelta(days=2)).date()
    old = typed(f"create --name k --expires {day}")
    new = typed(f"rotate {old['id']} --overlap 30d")
    assert {listed(typed, key["id"])["expires_at"] for key in (old, new)} == {f"{day}T00:00:00+00:00"}
    longer = (now() + timedelta(days=90)).date()
    newest = typed(f"rotate {new['id']} --expires {longer}")
    assert listed(typed, newest["id"])["expires_at"] == f"{longer}T00:00:00+00:00"


def test_what_cannot_be_rotated_is_told_why(typed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no key key_x" in refused("rotate key_x", capsys)
    old = typed("create --name k")
    assert "no span of time" in refused(f"rotate {old['id']} --overlap week", capsys)
    new = typed(f"rotate {old['id']}")
    assert "replaced already" in refused(f"rotate {old['id']}", capsys)
    typed(f"revoke {new['id']}")
    assert "revoked or expired" in refused(f"rotate {new['id']}", capsys)


def test_the_list_says_until_when(typed: Any, capsys: pytest.CaptureFixture[str]) -> None:
    made = typed("create --name k --owner ends --expires 2100-01-31")
    main(["keys", "list", "--owner", "ends"])
    assert re.search(rf"{made['id']}.* in use until 2100-01-31T", capsys.readouterr().out)


def test_keys_that_expire_wait_for_the_log_format_that_programs_before_lack() -> None:
    plain = KeyCreated(name="k", owner="o", scopes=("read",))
    assert format_of(plain) == 1
    assert format_of(msgspec.structs.replace(plain, expires_at=now())) == 2
    assert format_of(KeyReplaced(by=new_id(), expires_at=now())) == 2


# --- last use ---------------------------------------------------------------------------------------


def test_the_list_says_when_a_key_was_last_used(service: Service, typed: Any) -> None:
    made = typed("create --name k")
    assert listed(typed, made["id"])["last_used_at"] is None
    before = now()
    assert reading(service, made["key"]).status_code == 200
    used = datetime.fromisoformat(listed(typed, made["id"])["last_used_at"])
    assert before - timedelta(seconds=5) <= used <= now() + timedelta(seconds=5)


def test_the_use_of_a_key_is_written_once_a_minute_whoever_writes_it(
    service: Service, operating: Cells, typed: Any
) -> None:
    made = typed("create --name k")
    key = operating.key_of(made["key"])
    operating.note_use(key)
    first = operating.last_uses()[key.id]
    for _ in range(3):
        operating.note_use(key)
    assert reading(service, made["key"]).status_code == 200  # another process
    assert operating.last_uses()[key.id] == first
    with operating.first.pool.connection() as conn:
        conn.execute(
            "UPDATE key_uses SET used_at = used_at - interval '61 seconds' WHERE key_id = %s", (key.id,)
        )
    operating.note_use(key)
    assert operating.last_uses()[key.id] > first - timedelta(seconds=1)


def test_a_key_that_is_refused_is_not_used(service: Service, typed: Any) -> None:
    made = typed("create --name k")
    typed(f"revoke {made['id']}")
    assert reading(service, made["key"]).status_code == 401
    assert listed(typed, made["id"])["last_used_at"] is None


def test_uses_are_no_events(service: Service, typed: Any) -> None:
    made = typed("create --name k --owner quiet")
    with service.worker.cells.first.pool.connection() as conn:
        count = "SELECT count(*) FROM events WHERE owner = 'quiet'"
        before = conn.execute(count).fetchone()
        assert reading(service, made["key"]).status_code == 200
        assert conn.execute(count).fetchone() == before


# --- the variable -----------------------------------------------------------------------------------


@pytest.fixture
def cells(new_database: Callable[[], str]) -> Iterator[Cells]:
    with closing(Cells(new_database(), MASTER)) as cells:
        yield cells


def test_the_variable_is_one_key_and_replaces_the_one_that_it_was(cells: Cells) -> None:
    other = keys.create(cells, "mine", "default", ALL_SCOPES)
    keys.ensure_first(cells, "first-of-all")
    keys.ensure_first(cells, "first-of-all")
    assert cells.key_of("first-of-all").name == "bootstrap"
    keys.ensure_first(cells, "second-of-all")
    assert cells.key_of("second-of-all").scopes == ALL_SCOPES
    with pytest.raises(Revoked):
        cells.key_of("first-of-all")
    assert cells.key_of(other.key)


def test_without_the_variable_the_key_that_it_was_stays(cells: Cells) -> None:
    keys.ensure_first(cells, "first-of-all")
    assert keys.ensure_first(cells, None) is None
    assert cells.key_of("first-of-all")


def test_a_revoked_key_in_the_variable_is_told_and_locks_nobody_out(
    cells: Cells, caplog: pytest.LogCaptureFixture
) -> None:
    keys.ensure_first(cells, "first-of-all")
    keys.ensure_first(cells, "second-of-all")
    keys.ensure_first(cells, "first-of-all")
    assert "EVERLOG_BOOTSTRAP_KEY is a key that was revoked" in caplog.text
    assert cells.key_of("second-of-all")


def test_no_other_key_has_its_name_and_it_is_not_rotated(cells: Cells) -> None:
    with pytest.raises(keys.NotUsable, match="choose another"):
        keys.create(cells, "bootstrap", "default", ALL_SCOPES)
    keys.ensure_first(cells, "first-of-all")
    with pytest.raises(keys.NotUsable, match="change the variable"):
        keys.rotate(cells, cells.key_of("first-of-all").id, timedelta(), {})

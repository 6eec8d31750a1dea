"""The chat model against a real HTTP server that is told what to answer."""

import json
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from providers.models import chat_model
from providers.models import endpoint as models
from providers.models.chat_model import (
    ChatModel,
    ModelGarbage,
    ModelRefused,
    ModelUnavailable,
    Spent,
    strict_schema,
)
from providers.models.circuit import Circuit, CircuitOpen
from tests.support.endpoint import Answer, Endpoint

KEY = "sk-very-secret"
DATA = "Ada told me her address"


class Fact(msgspec.Struct):
    text: str
    kind: Literal["like", "fact"]
    certainty: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


class Facts(msgspec.Struct):
    facts: list[Fact]


ADA = {"facts": [{"text": "Ada likes tea", "kind": "like", "certainty": 0.5}]}
ADA_AS_FACTS = Facts([Fact("Ada likes tea", "like", 0.5)])


def completion(
    content: Any = None, finish_reason: Any = "stop", usage: Any = None, refusal: Any = None
) -> dict[str, Any]:
    text = json.dumps(ADA) if content is None else content
    message = {"role": "assistant", "content": text, "refusal": refusal}
    choice = {"index": 0, "finish_reason": finish_reason, "message": message}
    return {"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint(lambda _: (200, completion()))
    yield endpoint
    endpoint.close()


def model_at(url: str, clock: Clock, timeout: float = 5.0) -> ChatModel:
    circuit = Circuit(failures=3, seconds=10, longest=30, clock=clock)
    return ChatModel(models.Endpoint(url, KEY), "some-model", timeout, circuit)


@pytest.fixture
def model(endpoint: Endpoint, clock: Clock) -> ChatModel:
    return model_at(endpoint.url, clock)


def ask(model: ChatModel) -> tuple[Facts, Spent]:
    return model.structured("Find facts.", DATA, Facts)


def test_an_answer_comes_in_the_shape_asked_for_with_what_it_took(
    model: ChatModel, endpoint: Endpoint
) -> None:
    endpoint.answers = [(200, completion(usage={"prompt_tokens": 12, "completion_tokens": 34}))]
    assert ask(model) == (ADA_AS_FACTS, Spent(input_tokens=12, output_tokens=34))
    assert model.name == "some-model"


def test_the_request_carries_instructions_data_and_the_schema(model: ChatModel, endpoint: Endpoint) -> None:
    model.structured("Find facts.", DATA, Facts, max_tokens=77)
    assert endpoint.asked == [
        {
            "model": "some-model",
            "messages": [
                {"role": "system", "content": "Find facts."},
                {"role": "user", "content": DATA},
            ],
            "temperature": 0,
            "max_tokens": 77,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "Facts", "strict": True, "schema": strict_schema(Facts)},
            },
        }
    ]


def test_the_schema_is_one_that_strict_mode_takes() -> None:
    """The root no reference, all properties required, no others, no defaults, no bounds."""
    assert strict_schema(Facts) == {
        "type": "object",
        "properties": {"facts": {"type": "array", "items": {"$ref": "#/$defs/Fact"}}},
        "required": ["facts"],
        "additionalProperties": False,
        "$defs": {
            "Fact": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "kind": {"type": "string", "enum": ["fact", "like"]},
                    "certainty": {"type": "number"},
                },
                "required": ["text", "kind", "certainty"],
                "additionalProperties": False,
            }
        },
    }


class Tree(msgspec.Struct):
    children: list["Tree"]


def test_a_shape_may_contain_itself() -> None:
    schema = strict_schema(Tree)
    assert schema["type"] == "object"
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert schema["$defs"].keys() == {"Tree"}


@pytest.mark.parametrize("unsayable", [dict[str, str], tuple[int, str], Any, list])
def test_a_shape_that_strict_mode_cannot_say_is_a_mistake_of_ours(unsayable: Any) -> None:
    with pytest.raises(TypeError):
        strict_schema(msgspec.defstruct("Shape", [("field", unsayable)]))


@pytest.mark.parametrize(
    "usage",
    [None, [], "many", {}, {"prompt_tokens": None}, {"prompt_tokens": -1}, {"completion_tokens": 1 << 40}],
    ids=str,
)
def test_an_endpoint_that_does_not_count_is_taken_as_zeros(
    model: ChatModel, endpoint: Endpoint, usage: Any
) -> None:
    endpoint.answers = [(200, completion(usage=usage))]
    assert ask(model) == (ADA_AS_FACTS, Spent(0, 0))


@pytest.mark.parametrize("fenced", ["```json\n%s\n```", "```\n%s\n```\n", "\n\n  %s \n"])
def test_a_fence_around_the_answer_is_overlooked(model: ChatModel, endpoint: Endpoint, fenced: str) -> None:
    endpoint.answers = [(200, completion(fenced % json.dumps(ADA)))]
    assert ask(model)[0] == ADA_AS_FACTS


@pytest.mark.parametrize(
    "answer",
    [
        (200, b""),
        (200, b"<html>no</html>", {"Content-Type": "text/html"}),
        (200, b'{"choices": [{"mess'),
        (200, b"[" * 100_000),
        (200, {}),
        (200, {"error": {"message": "overloaded"}}),
        (200, {"choices": []}),
        (200, {"choices": [{}]}),
        (200, {"choices": None}),
        (200, completion("")),
        (200, completion([{"type": "text", "text": "{}"}])),
        (200, completion("I found no facts")),
        (200, completion(json.dumps(ADA)[:-4])),
        (200, completion(json.dumps(ADA), finish_reason="length")),
        (200, completion("null")),
        (200, completion("[]")),
        (200, completion("{}")),
        (200, completion('{"facts": [{"text": "a"}]}')),
        (200, completion('{"facts": [{"text": 1, "kind": "fact"}]}')),
        (200, completion('{"facts": [{"text": "a", "kind": "rumour"}]}')),
        (200, completion('{"facts": [{"text": "a", "kind": "fact", "certainty": 2}]}')),
        (200, completion("[" * 100_000)),
    ],
    ids=lambda answer: str(answer)[:60],
)
def test_an_answer_that_is_not_what_was_asked_is_garbage_and_not_asked_again(
    model: ChatModel, endpoint: Endpoint, answer: Answer
) -> None:
    endpoint.usual = lambda _: answer
    with pytest.raises(ModelGarbage):
        ask(model)
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        (200, completion("", refusal="I cannot help with that")),
        (200, completion("{", finish_reason="content_filter")),
        (400, error("too long", code="context_length_exceeded")),
        (413, b"<html>too large</html>"),
        (422, error("no")),
    ],
    ids=lambda answer: str(answer)[:60],
)
def test_an_input_that_is_refused_is_not_asked_again(
    model: ChatModel, endpoint: Endpoint, answer: Answer
) -> None:
    endpoint.usual = lambda _: answer
    with pytest.raises(ModelRefused):
        ask(model)
    assert len(endpoint.asked) == 1


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
def test_a_passing_failure_is_tried_again(model: ChatModel, endpoint: Endpoint, status: int) -> None:
    endpoint.answers = [(status, error("later")), (status, b"<html>later</html>")]
    assert ask(model)[0] == ADA_AS_FACTS
    assert len(endpoint.asked) == 3


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
def test_a_failure_that_does_not_pass_is_for_later(model: ChatModel, endpoint: Endpoint, status: int) -> None:
    endpoint.usual = lambda _: (status, error("later"))
    with pytest.raises(ModelUnavailable, match=str(status)):
        ask(model)
    assert len(endpoint.asked) == 3


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_wrong_key_or_model_name_waits_for_the_operator(
    model: ChatModel, endpoint: Endpoint, status: int
) -> None:
    endpoint.usual = lambda _: (status, error("no", code="model_not_found"), {})
    with pytest.raises(ModelUnavailable, match=f"HTTP {status}, model_not_found") as caught:
        ask(model)
    assert caught.value.retry_after is None
    assert len(endpoint.asked) == 1


def test_a_short_retry_after_is_waited_for(model: ChatModel, endpoint: Endpoint) -> None:
    endpoint.answers = [(429, error("slowly"), {"Retry-After": "0.05"})]
    assert ask(model)[0] == ADA_AS_FACTS
    assert len(endpoint.asked) == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "900"}, 900.0),
        ({"Retry-After-Ms": "900000", "Retry-After": "1"}, 900.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "-4"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_a_long_retry_after_is_handed_on(
    endpoint: Endpoint,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    headers: dict[str, str],
    seconds: float | None,
) -> None:
    monkeypatch.setattr(chat_model, "RETRIES", 0)
    endpoint.usual = lambda _: (429, error("slowly"), headers)
    with pytest.raises(ModelUnavailable) as caught:
        ask(model_at(endpoint.url, clock))
    assert caught.value.retry_after == seconds


def test_an_endpoint_that_is_slow_or_gone_is_given_up(
    endpoint: Endpoint, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_model, "RETRIES", 0)
    endpoint.delay = 5
    with pytest.raises(ModelUnavailable, match="APITimeoutError"):
        ask(model_at(endpoint.url, clock, timeout=0.1))
    with pytest.raises(ModelUnavailable, match="APIConnectionError"):
        ask(model_at("http://127.0.0.1:9/v1", clock))


def test_what_cannot_be_sent_is_told_apart(endpoint: Endpoint, model: ChatModel) -> None:
    with pytest.raises(ModelRefused):
        model.structured("Find facts.", "half a character: \ud800", Facts)
    with pytest.raises(ModelUnavailable, match="key"):
        ask(ChatModel(models.Endpoint(endpoint.url, "“quoted”"), "some-model"))
    assert endpoint.asked == []


def without_json_schema(body: dict[str, Any]) -> Answer:
    if body["response_format"]["type"] == "json_schema":
        return 400, error("This response_format type is unavailable now")
    return 200, completion("```json\n" + json.dumps(ADA) + "\n```")


def test_an_endpoint_without_json_schema_gets_the_schema_in_words_from_then_on(
    model: ChatModel, endpoint: Endpoint
) -> None:
    endpoint.usual = without_json_schema
    assert ask(model)[0] == ask(model)[0] == ADA_AS_FACTS
    formats = [asked["response_format"]["type"] for asked in endpoint.asked]
    assert formats == ["json_schema", "json_object", "json_object"]
    system, user = (message["content"] for message in endpoint.asked[-1]["messages"])
    assert system.startswith("Find facts.")
    assert json.loads(system.splitlines()[-1]) == strict_schema(Facts)
    assert user == DATA


def newer_model(body: dict[str, Any]) -> Answer:
    if "max_tokens" in body:
        advice = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return 400, error(advice, param="max_tokens", code="unsupported_parameter")
    if "temperature" in body:
        return 400, error("Only the default (1) value is supported.", param="temperature")
    return 200, completion()


def test_a_newer_model_gets_its_parameters_from_then_on(model: ChatModel, endpoint: Endpoint) -> None:
    endpoint.usual = newer_model
    assert ask(model)[0] == ask(model)[0] == ADA_AS_FACTS
    assert len(endpoint.asked) == 4
    assert endpoint.asked[-1]["max_completion_tokens"] == 4000
    assert endpoint.asked[-1]["response_format"]["type"] == "json_schema"


def test_a_complaint_that_giving_in_does_not_settle_changes_nothing(
    model: ChatModel, endpoint: Endpoint
) -> None:
    """Else one input whose words the endpoint repeats would worsen all later requests."""
    endpoint.answers = [(400, error("bad input: temperature in response_format"))] * 2
    with pytest.raises(ModelRefused):
        ask(model)
    ask(model)
    assert endpoint.asked[-1]["temperature"] == 0
    assert endpoint.asked[-1]["response_format"]["type"] == "json_schema"


def test_many_threads_share_one_model(model: ChatModel, endpoint: Endpoint) -> None:
    endpoint.usual = without_json_schema
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(model)[0], range(40)))
    assert answers == [ADA_AS_FACTS] * 40
    asked_before = len(endpoint.asked)
    ask(model)
    assert len(endpoint.asked) == asked_before + 1


def fail(model: ChatModel, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ModelUnavailable, match="404"):
            ask(model)


def assert_left_alone(model: ChatModel, endpoint: Endpoint, seconds: float) -> None:
    asked_before = len(endpoint.asked)
    with pytest.raises(ModelUnavailable, match="left alone") as caught:
        ask(model)
    assert caught.value.retry_after == pytest.approx(seconds)
    assert len(endpoint.asked) == asked_before


def test_after_some_failures_the_endpoint_is_left_alone_until_a_trial_succeeds(
    model: ChatModel, endpoint: Endpoint, clock: Clock
) -> None:
    endpoint.answers = [(404, error("no"))] * 3
    fail(model, 3)
    assert_left_alone(model, endpoint, 10)
    clock.now += 4
    assert_left_alone(model, endpoint, 6)
    clock.now += 6
    assert ask(model)[0] == ADA_AS_FACTS
    endpoint.answers = [(404, error("no"))] * 2
    fail(model, 2)
    assert ask(model)[0] == ADA_AS_FACTS


def test_trials_that_fail_make_the_pause_longer_up_to_a_limit(
    model: ChatModel, endpoint: Endpoint, clock: Clock
) -> None:
    endpoint.answers = [(404, error("no"))] * 6
    fail(model, 3)
    for pause in (10, 20, 30):
        assert_left_alone(model, endpoint, pause)
        clock.now += pause
        fail(model, 1)
    clock.now += 30
    ask(model)
    endpoint.answers = [(404, error("no"))] * 3
    fail(model, 3)
    assert_left_alone(model, endpoint, 10)


def test_only_failures_in_a_row_count_and_garbage_and_refusals_are_none(
    model: ChatModel, endpoint: Endpoint
) -> None:
    no = (404, error("no"))
    endpoint.answers = [no, no, (200, b"<html>"), no, no, (400, error("refused")), no, no]
    fail(model, 2)
    with pytest.raises(ModelGarbage):
        ask(model)
    fail(model, 2)
    with pytest.raises(ModelRefused):
        ask(model)
    fail(model, 2)
    assert ask(model)[0] == ADA_AS_FACTS


def test_only_one_trial_is_let_through(model: ChatModel, endpoint: Endpoint, clock: Clock) -> None:
    endpoint.answers = [(404, error("no"))] * 3
    fail(model, 3)
    clock.now += 10
    reached, go_on = threading.Event(), threading.Event()

    def held(_: dict[str, Any]) -> Answer:
        reached.set()
        go_on.wait(5)
        return 200, completion()

    endpoint.usual = held
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(ask, model)
        assert reached.wait(5)
        assert_left_alone(model, endpoint, 10)
        go_on.set()
        assert trial.result()[0] == ADA_AS_FACTS
    assert ask(model)[0] == ADA_AS_FACTS


class Failure(Exception):
    pass


def test_an_interrupted_trial_leaves_the_next_call_to_be_one(clock: Clock) -> None:
    circuit = Circuit(failures=1, seconds=10, clock=clock)
    with pytest.raises(Failure), circuit.guard(Failure):
        raise Failure
    clock.now += 10
    with pytest.raises(KeyboardInterrupt), circuit.guard(Failure):
        raise KeyboardInterrupt
    with pytest.raises(Failure), circuit.guard(Failure):
        raise Failure


def test_calls_from_before_the_circuit_opened_neither_close_it_nor_prolong_it(clock: Clock) -> None:
    circuit = Circuit(failures=1, seconds=10, clock=clock)
    early_success, early_failure = circuit.guard(Failure), circuit.guard(Failure)
    early_success.__enter__()
    early_failure.__enter__()
    with pytest.raises(Failure), circuit.guard(Failure):
        raise Failure
    clock.now += 5
    early_success.__exit__(None, None, None)
    early_failure.__exit__(Failure, Failure(), None)
    with pytest.raises(CircuitOpen) as caught, circuit.guard(Failure):
        pass
    assert caught.value.seconds == 5


@pytest.mark.parametrize(
    "answer",
    [
        (401, error(f"Incorrect API key provided: {KEY}", code=KEY)),
        (400, error(f"cannot take: {DATA}", code=DATA)),
        (503, f"{KEY} {DATA}".encode()),
        (200, f"{KEY} {DATA}".encode()),
        (200, completion(refusal=f"I will not talk about: {DATA}")),
        (200, completion(DATA)),
        (200, completion(json.dumps({"facts": [{"text": "a", "kind": DATA}]}))),
    ],
    ids=lambda answer: str(answer)[:40],
)
def test_no_exception_tells_the_key_or_the_messages_not_even_in_its_traceback(
    model: ChatModel, endpoint: Endpoint, answer: Answer
) -> None:
    endpoint.usual = lambda _: answer
    with pytest.raises((ModelUnavailable, ModelRefused, ModelGarbage)) as caught:
        ask(model)
    told = "".join(traceback.format_exception(caught.value))
    assert KEY not in told
    assert DATA not in told


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
near_completions = st.builds(
    completion,
    content=anything | anything.map(json.dumps) | st.text(),
    finish_reason=anything | st.just("stop"),
    usage=anything,
    refusal=anything,
).map(lambda answer: json.dumps(answer).encode())


@pytest.fixture(scope="module")
def garbling() -> Iterator[tuple[Endpoint, ChatModel]]:
    endpoint = Endpoint(lambda _: (200, b""))
    yield (
        endpoint,
        ChatModel(models.Endpoint(endpoint.url), "some-model", circuit=Circuit(failures=1_000_000)),
    )
    endpoint.close()


@settings(max_examples=200, deadline=None)
@given(
    status=st.sampled_from([200, 200, 200, 204, 301, 400, 404]),
    body=st.binary() | anything.map(lambda value: json.dumps(value).encode()) | near_completions,
)
@example(status=200, body=b"\xff")
@example(status=200, body=b'{"choices": "\xff"}')
@example(status=200, body=b'{"choices": [{"message": {"content": "\\ud800"}}]}')
@example(status=200, body=json.dumps(completion('{"facts": [' + "9" * 9000)).encode())
@example(status=400, body=b"[" * 100_000)
@example(status=400, body=b'{"error": {"message": [], "code": {}, "param": {}}}')
@example(status=404, body=b'{"error": 4}')
def test_whatever_the_endpoint_answers_there_are_only_three_exceptions(
    garbling: tuple[Endpoint, ChatModel], status: int, body: bytes
) -> None:
    endpoint, model = garbling
    endpoint.usual = lambda _: (status, body)
    try:
        answer, spent = ask(model)
    except (ModelUnavailable, ModelRefused, ModelGarbage):
        return
    assert isinstance(answer, Facts)
    assert isinstance(spent, Spent)

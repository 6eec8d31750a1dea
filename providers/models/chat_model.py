"""Structured answers from a chat model behind any OpenAI-compatible endpoint."""

import functools
import logging
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
import openai
from openai import omit
from openai.types.chat.completion_create_params import ResponseFormat

from providers.models.circuit import Circuit, CircuitOpen
from providers.models.endpoint import Endpoint

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 60.0
RETRIES = 2
"""The client waits between them, with jitter or as long as the endpoint's Retry-After asks."""
REFUSING = {400, 413, 422}

OPTIONAL = ("json_schema", "temperature", "max_tokens")
"""What some endpoints do not take: older ones, and the newer models of OpenAI itself."""

STRICT_KEYS = {"type", "description", "enum", "properties", "items", "anyOf"}
"""Bounds and patterns are not among them, Azure and fine-tuned models take none: decoding checks them."""
TYPE_OF_ENUM = {str: "string", int: "integer"}

IN_WORDS = "\n\nAnswer with nothing but one JSON object that conforms to this JSON Schema:\n"

T = TypeVar("T")
Shape = TypeVar("Shape", bound=msgspec.Struct)


class ModelUnavailable(Exception):
    """No answer now; worth another try, after `retry_after` seconds if that is known."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelRefused(Exception):
    """The model or its endpoint will not answer this input; trying it again helps none."""


class ModelGarbage(Exception):
    """The answer is not what was asked for."""


class Spent(msgspec.Struct, frozen=True):
    """What one call took; zeros when the endpoint does not say."""

    input_tokens: int = 0
    output_tokens: int = 0


Tokens = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class _Usage(msgspec.Struct):
    prompt_tokens: Tokens = 0
    completion_tokens: Tokens = 0


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: Any = None


class ChatModel:
    """Answers in the shape asked for, or one of the three exceptions above. Safe for many threads.

    The texts of the exceptions, and of what a traceback prints with them, hold neither the key nor
    anything of the messages.
    """

    def __init__(
        self, endpoint: Endpoint, name: str, timeout: float = TIMEOUT_SECONDS, circuit: Circuit | None = None
    ) -> None:
        """`timeout`: seconds until one call is given up."""
        self.name = name
        self._client = endpoint.client(timeout, RETRIES)
        self._circuit = circuit or Circuit()
        self._lacking: frozenset[str] = frozenset()
        """Which of OPTIONAL the endpoint is known not to take."""

    def structured(
        self, instructions: str, data: str, shape: type[Shape], max_tokens: int = 4000
    ) -> tuple[Shape, Spent]:
        """One completion, `instructions` as its system message and `data` as its user message."""
        try:
            with self._circuit.guard(ModelUnavailable):
                body = self._complete(instructions, data, shape, max_tokens)
        except CircuitOpen as circuit:
            raise ModelUnavailable(
                "the chat endpoint keeps failing and is left alone for a while", circuit.seconds
            ) from None
        completion = _decoded(body, _Completion, "something else than a chat completion")
        if not completion.choices:
            raise ModelGarbage("the chat endpoint answered no choices")
        choice = completion.choices[0]
        if choice.message.refusal or choice.finish_reason == "content_filter":
            raise ModelRefused("the chat model refused to answer")
        if choice.finish_reason == "length":
            raise ModelGarbage("the chat model's answer was cut off at its token limit")
        if not choice.message.content:
            raise ModelGarbage("the chat model answered nothing")
        answer = _decoded(_unfenced(choice.message.content), shape, "JSON of another shape, or none")
        return answer, _spent(completion.usage)

    def _complete(self, instructions: str, data: str, shape: type[Shape], max_tokens: int) -> bytes:
        lacking = self._lacking
        while True:
            try:
                body = self._ask(instructions, data, shape, max_tokens, lacking)
            except openai.APIStatusError as error:
                complaints = _complaints(error) - lacking
                if not complaints:
                    raise failure(error) from None
                lacking |= complaints
            except openai.OpenAIError as error:
                raise ModelUnavailable(f"no answer of the chat endpoint: {type(error).__name__}") from None
            except UnicodeEncodeError as error:
                raise unsendable(error) from None
            else:
                if lacking - self._lacking:
                    log.warning("%s: the endpoint does not take %s", self.name, ", ".join(sorted(lacking)))
                    self._lacking |= lacking
                return body

    def _ask(
        self, instructions: str, data: str, shape: type[Shape], max_tokens: int, lacking: frozenset[str]
    ) -> bytes:
        response_format: ResponseFormat
        if "json_schema" in lacking:
            instructions += IN_WORDS + msgspec.json.encode(strict_schema(shape)).decode()
            response_format = {"type": "json_object"}
        else:
            response_format = {
                "type": "json_schema",
                "json_schema": {"name": shape.__name__, "strict": True, "schema": strict_schema(shape)},
            }
        newer = "max_tokens" in lacking
        response = self._client.chat.completions.with_raw_response.create(
            model=self.name,
            messages=[{"role": "system", "content": instructions}, {"role": "user", "content": data}],
            response_format=response_format,
            temperature=omit if "temperature" in lacking else 0,
            max_tokens=omit if newer else max_tokens,
            max_completion_tokens=max_tokens if newer else omit,
        )
        return response.content


@functools.cache
def strict_schema(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of `shape` in the subset that OpenAI's strict mode takes.

    Raises TypeError for what the subset cannot say: mappings, tuples, Any.
    """
    schema = msgspec.json.schema(shape)
    definitions = {name: _strict(node) for name, node in schema["$defs"].items()}
    name = schema["$ref"].removeprefix("#/$defs/")
    root = definitions[name]
    if f'"{schema["$ref"]}"' not in msgspec.json.encode(definitions).decode():  # else it contains itself
        del definitions[name]
    return {**root, "$defs": definitions} if definitions else root


def _strict(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:  # takes no neighbours
        return {"$ref": node["$ref"]}
    strict = {key: value for key, value in node.items() if key in STRICT_KEYS}
    match strict:
        case {"enum": [first, *_]}:
            strict["type"] = TYPE_OF_ENUM[type(first)]
        case {"anyOf": options}:
            strict["anyOf"] = [_strict(option) for option in options]
        case {"type": "array", "items": dict(items)}:
            strict["items"] = _strict(items)
        case {"type": "object", "properties": properties}:
            strict["properties"] = {name: _strict(value) for name, value in properties.items()}
            strict["required"] = list(properties)
            strict["additionalProperties"] = False
        case {"type": "string" | "integer" | "number" | "boolean" | "null"}:
            pass
        case _:
            raise TypeError(f"strict mode has no words for {node}")
    return strict


def _complaints(error: openai.APIStatusError) -> frozenset[str]:
    """What of OPTIONAL the endpoint does not take, as far as its error tells."""
    if error.status_code not in {400, 422}:
        return frozenset()
    text = str(error.param or error.message).replace("response_format", "json_schema")
    return frozenset(name for name in OPTIONAL if name in text)


def failure(error: openai.APIStatusError) -> ModelRefused | ModelUnavailable:
    """The exception to raise for what the endpoint answered, without a word of its own text."""
    kind = f"HTTP {error.status_code}"
    if re.fullmatch("[a-z_]{1,40}", error.code or ""):  # such as insufficient_quota, model_not_found
        kind += f", {error.code}"
    if error.status_code in REFUSING:
        return ModelRefused(f"the chat endpoint does not take this request: {kind}")
    return ModelUnavailable(f"the chat endpoint failed: {kind}", _retry_after(error.response.headers))


def unsendable(error: UnicodeEncodeError) -> ModelRefused | ModelUnavailable:
    if error.encoding == "ascii":  # only headers are
        return ModelUnavailable("the API key cannot be sent: it is not ASCII")
    return ModelRefused("the text cannot be sent: it is not Unicode")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None


def _decoded(text: bytes | str, shape: type[T], otherwise: str) -> T:
    try:
        return msgspec.json.decode(text, type=shape)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise ModelGarbage(f"the chat model answered {otherwise}") from None


def _unfenced(content: str) -> str:
    return content.strip().removeprefix("```json").removeprefix("```").removesuffix("```")


def _spent(usage: object) -> Spent:
    try:
        counted = msgspec.convert(usage, _Usage)
    except msgspec.ValidationError:
        return Spent()
    return Spent(counted.prompt_tokens, counted.completion_tokens)

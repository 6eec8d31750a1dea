"""Whether a text is a Mermaid diagram that clients can draw, and safe for them to.

What clients draw with is JavaScript. Here its grammar is judged by `merman`, which has it in Rust. It has no
wheel for every platform: without it, any diagram passes whose first line says of what kind it is.
"""

import functools
import importlib
import importlib.util
import logging
import re
from typing import NoReturn

import msgspec

log = logging.getLogger(__name__)

MAX_LINES = 200
MAX_BYTES = 20_000
MAX_AMPERSANDS = 40
"""`A & B --> C & D` is four edges: their number grows with the product."""
MAX_MILLISECONDS = 1_000
"""Of reading the grammar; a large diagram takes 5, a hostile one of the same size 15,000."""
MAX_REASON = 200
"""Characters; some of the grammar's own go on with all that it would have understood."""

FLOWCHARTS = {"flowchart", "graph", "flowchart-elk"}
STATES = {"stateDiagram", "stateDiagram-v2"}
FLOW = 'a["the (label)"] -->|text| b'
KINDS = {
    "flowchart": FLOW,
    "graph": FLOW,
    "flowchart-elk": FLOW,
    "sequenceDiagram": "Alice->>Bob: text, with #59; for a semicolon",
    "classDiagram": "A <|-- B",
    "classDiagram-v2": "A <|-- B",
    "stateDiagram": "Idle --> Running : what happens",
    "stateDiagram-v2": "Idle --> Running : what happens",
    "erDiagram": "CUSTOMER ||--o{ ORDER : places",
    "gantt": "The task :id, 2026-01-31, 5d",
    "pie": '"Label" : 42.5',
    "journey": "The step: 5: Me, Cat",
    "quadrantChart": "Name: [0.3, 0.75]",
    "timeline": "2004 : Facebook",
    "mindmap": 'id["the label"]',
    "gitGraph": "branch develop",
}
"""Those that are proposed, with a statement of each, for who has written another."""
RARE = {"requirementDiagram", "C4Context", "C4Container", "C4Component", "C4Dynamic", "C4Deployment"}
RARE |= {"sankey", "sankey-beta", "xychart", "xychart-beta", "block", "block-beta", "packet", "packet-beta"}
RARE |= {"kanban", "architecture-beta", "radar-beta", "treemap", "treemap-beta"}
"""Others that clients draw."""


class DiagramInvalid(Exception):
    """`line` counts from 1; `reason` says what to change, and may quote the diagram."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class Line(msgspec.Struct, frozen=True):
    """A line without the spaces around it, and its number."""

    number: int
    text: str

    def refuse(self, reason: str) -> NoReturn:
        raise DiagramInvalid(self.number, reason)


def check(mermaid: str) -> str:
    """The diagram without the code fence around it. Raises DiagramInvalid.

    Takes milliseconds, and at most a second: call it in a thread.
    """
    diagram = _unfenced(mermaid)
    _require_size(diagram)
    for line in _lines(diagram):
        _require_safe(line)
        _require_safe_links(line)
    lines = _content(diagram)
    if not lines:
        raise DiagramInvalid(1, "the diagram is empty")
    kind = _kind(lines[0])
    _require_meaning(kind, lines)
    _require_grammar(kind, diagram)
    return diagram


def _lines(text: str) -> list[Line]:
    return [Line(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]


FENCE = re.compile(r"^[ \t]*```+[ \t]*(?:mermaid)?[ \t]*$(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)


def _unfenced(text: str) -> str:
    text = text.replace("\r\n", "\n")
    fenced = FENCE.search(text[: 2 * MAX_BYTES])
    return (fenced[1] if fenced else text).strip("\n").rstrip()


def _require_size(diagram: str) -> None:
    if diagram.count("\n") >= MAX_LINES:
        raise DiagramInvalid(MAX_LINES + 1, f"more than {MAX_LINES} lines: draw less, the main parts only")
    if len(diagram.encode(errors="replace")) > MAX_BYTES:
        raise DiagramInvalid(1, f"more than {MAX_BYTES:,} bytes: shorten the labels")


# Safety


TAG = re.compile(r"(?<!<)<(?!br\s*/?>)/?[a-zA-Z][\w:-]*(?:[\s/][^<>]*)?>|<!--(?!>)", re.IGNORECASE)
ACTIVE = re.compile(
    r"<\s*(?:script|img|iframe|svg|object|embed|style|link|meta|form|video|audio|base)\b", re.I
)
PICTURE = re.compile(r"\bimg\s*:|\burl\s*\(|@import|\bexpression\s*\(", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")

URL = r'"https?://[^"\s]*"'
CLICK = re.compile(rf'click\s+\S+\s+(?:href\s+)?{URL}(?:\s+"[^"]*")?(?:\s+_(?:self|blank|parent|top))?')
LINK = re.compile(rf'link\s+\S+\s+{URL}(?:\s+"[^"]*")?(?:\s+_(?:self|blank|parent|top))?')
LINK_OF_ACTOR = re.compile(r"link\s+[^:]+:\s*[^@]+@\s*https?://\S+")
NO_CALLBACKS = 'a click may only open an address: click A href "https://example.org"'


def _require_safe(line: Line) -> None:
    if "%%{" in line.text:
        line.refuse("no directives %%{ … }%%: leave them out")
    if CONTROL.search(line.text):
        line.refuse("a control character: leave it out")
    if TAG.search(line.text) or ACTIVE.search(line.text):
        line.refuse("no HTML other than <br>: leave the tag out, and write #lt; for < in a label")
    if PICTURE.search(line.text):
        line.refuse("no pictures and no CSS from addresses: leave it out")


def _require_safe_links(line: Line) -> None:
    """Of every line, even within a label: where a label ends is for the client to say."""
    statement = line.text.rstrip("; ")
    if re.search(r";\s*click\s", statement, re.IGNORECASE):
        line.refuse("write each click on a line of its own")
    if re.match(r"click\s+[^\s\-=.:]", statement, re.IGNORECASE) and not CLICK.fullmatch(statement):
        line.refuse(NO_CALLBACKS)
    if re.match(r'(?:link|callback)\s+\S+\s+"', statement, re.IGNORECASE) and not LINK.fullmatch(statement):
        line.refuse(NO_CALLBACKS)
    if re.match(r"link\s+[^:\->]+:", statement, re.IGNORECASE) and not LINK_OF_ACTOR.fullmatch(statement):
        line.refuse("a link of a participant is written: link Alice: Wiki @ https://example.org")
    if re.match(r"(?:links|properties|details)\s+[^:\->]+:", statement, re.IGNORECASE):
        line.refuse("no links, properties or details of participants: leave it out")


# Kind, and what the grammar allows although it is not drawn as it is meant

ASIDE = re.compile(r"^[ \t]*(?:%%.*|acc(?:Title|Descr)[ \t]*:.*|accDescr\s*\{[^}]*\}?)", re.MULTILINE)
"""Comments, and what is for screen readers."""


def _content(diagram: str) -> list[Line]:
    """From the line on that says the kind, without blank lines and asides."""
    drawn = ASIDE.sub(lambda aside: "\n" * aside[0].count("\n"), diagram)
    lines = [line for line in _lines(drawn) if line.text]
    if not lines or lines[0].text != "---":
        return lines
    for at, line in enumerate(lines[1:], 2):
        if line.text == "---":
            return lines[at:]
        if not line.text.startswith("title:"):
            line.refuse("nothing but `title:` may stand between the lines of ---")
    return []


def _kind(header: Line) -> str:
    word = re.split(r"[\s;:]", header.text, maxsplit=1)[0]
    spelling = {name.lower(): name for name in [*KINDS, *RARE]}.get(word.lower())
    if not spelling:
        header.refuse(f"the first line must say what diagram it is, one of: {', '.join(KINDS)}")
    if spelling != word:
        header.refuse(f"the first line is spelt {spelling}")
    return spelling


FLOWCHART = re.compile(r"\S+?(?:\s+(?:TB|TD|BT|RL|LR|[><^v]))?\s*(?:;.*)?")
NOTE = re.compile(r"note\s+(?:left|right)\s+of\s+[^:]+", re.IGNORECASE)
STEP = re.compile(r"(?:title|section)\b.*|[^:]+:\s*-?\d+(?:\.\d+)?\s*(?::.*)?")


def _require_meaning(kind: str, lines: list[Line]) -> None:
    if kind in FLOWCHARTS:
        if not FLOWCHART.fullmatch(lines[0].text):
            lines[0].refuse("write a direction after it, and nothing else: flowchart TD (or LR, BT, RL)")
        if sum(line.text.count("&") for line in lines) > MAX_AMPERSANDS:
            lines[0].refuse(f"more than {MAX_AMPERSANDS} times &: draw fewer edges")
    elif kind in STATES:
        _require_states_of_one_word(lines[1:])
    elif kind == "journey":
        for line in lines[1:]:
            if not STEP.fullmatch(line.text):
                line.refuse("a step is written: The step: 5: Me, Cat (a score of 1 to 5, then who)")


def _require_states_of_one_word(lines: list[Line]) -> None:
    """`Idle --> Not running` would draw three states."""
    in_note = False
    for line in lines:
        in_note = bool(NOTE.fullmatch(line.text)) or (in_note and line.text.lower() != "end note")
        transition = re.sub(r'"[^"]*"', "", line.text).replace(":::", "\0").partition(":")[0]
        source, arrow, target = transition.partition("-->")
        if arrow and not in_note and (re.search(r"\s", source.strip()) or re.search(r"\s", target.strip())):
            line.refuse('a state is one word; a longer name is given before: state "Idle again" as Idle2')


# Grammar


class _Parser:
    """Raises whatever a later release, or a machine that it was not built for, makes of it."""

    def __init__(self) -> None:
        self._merman = importlib.import_module("merman")
        self._engine = self._merman.MermanEngine(
            options_json='{"version":2,"resources":{"profile":"constrained"}}', services=None
        )

    def analysis(self, diagram: str) -> "_Analysis":
        asked = self._merman.MermanOperationRequestV4(
            operation_id="analysis-json",
            source=diagram,
            uri=None,
            options_json=None,
            control=self._merman.MermanOperationControl(timeout_ms=MAX_MILLISECONDS),
        )
        return msgspec.json.decode(self._engine.execute(asked).data, type=_Analysis)


class _Span(msgspec.Struct):
    line: int = 1


class _Diagnostic(msgspec.Struct):
    id: str
    message: str
    span: _Span | None = None


class _Analysis(msgspec.Struct):
    valid: bool
    diagnostics: list[_Diagnostic]


@functools.cache
def _parser() -> _Parser | None:
    """None where merman has no wheel, or one that is of no use."""
    if not importlib.util.find_spec("merman"):
        return None
    try:
        parser = _Parser()
        parser.analysis("flowchart TD")
    except Exception as error:
        log.warning("merman is installed but of no use here: %s", type(error).__name__)
        return None
    return parser


def _require_grammar(kind: str, diagram: str) -> None:
    if not (parser := _parser()):
        return
    try:
        analysis = parser.analysis(diagram)
    except Exception as error:
        if getattr(error, "cancellation", None):
            raise DiagramInvalid(1, "it takes too long to read: draw less, the main parts only") from None
        return  # a parser that fails has judged nothing
    for found in analysis.diagnostics if not analysis.valid else []:
        if found.id == "merman.parse.diagram_parse":
            raise DiagramInvalid(found.span.line if found.span else 1, _reason(kind, found.message))


def _reason(kind: str, message: str) -> str:
    said = " ".join(message.split())
    said = said if len(said) <= MAX_REASON else said[:MAX_REASON] + "…"
    return f"{said}; a statement is written so: {KINDS[kind]}" if kind in KINDS else said

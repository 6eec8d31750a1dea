"""Whether a text is a Mermaid diagram that clients can draw, and safe for them to.

What clients draw with is JavaScript. Here the structure is checked by hand, in words that tell a model what
it got wrong; where the wheel `merman` is installed (Mermaid's grammar in Rust), that has the last word.
What neither can judge passes.
"""

import functools
import importlib
import importlib.util
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import msgspec

log = logging.getLogger(__name__)

MAX_LINES = 200
MAX_BYTES = 20_000
MAX_AMPERSANDS = 40
"""`A & B --> C & D` is four edges: their number grows with the product."""


class DiagramInvalid(Exception):
    """`line` counts from 1; `reason` says what to change, and may quote the diagram."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class Line(msgspec.Struct, frozen=True):
    """One statement and the number of the line where it begins; `text` has no spaces around it."""

    number: int
    text: str
    indent: int = 0

    def refuse(self, reason: str) -> NoReturn:
        raise DiagramInvalid(self.number, reason)


def check(mermaid: str) -> str:
    """The diagram without the code fence around it. Raises DiagramInvalid. Takes milliseconds."""
    diagram = _unfenced(mermaid)
    _require_size(diagram)
    lines = _lines(diagram)
    for line in lines:
        _require_safe(line)
        _require_safe_links(line)
    lines = _content(lines)
    if not lines:
        raise DiagramInvalid(1, "the diagram is empty")
    structure = _kind(lines[0])
    structure(lines)
    _require_grammar(diagram)
    return diagram


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


def _lines(diagram: str) -> list[Line]:
    return [
        Line(number, text.strip(), len(text) - len(text.lstrip()))
        for number, text in enumerate(diagram.split("\n"), 1)
    ]


def _content(lines: list[Line]) -> list[Line]:
    """Without blank lines, comments, a title before the diagram, and descriptions for screen readers."""
    kept: list[Line] = []
    skipping = ""
    for line in lines:
        if skipping:
            if skipping in line.text:
                skipping = ""
            elif skipping == "---" and not line.text.startswith("title:"):
                line.refuse("nothing but `title:` may stand between the lines of ---")
        elif line.text == "---" and not kept:
            skipping = "---"
        elif re.match(r"accDescr\s*\{", line.text):
            skipping = "" if "}" in line.text else "}"
        elif (
            line.text and not line.text.startswith("%%") and not re.match(r"acc(Title|Descr)\s*:", line.text)
        ):
            kept.append(line)
    return kept


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


# Grammar


@functools.cache
def _parser() -> Any:
    """merman's engine, or None where its wheel is not installed."""
    if not importlib.util.find_spec("merman"):
        return None
    try:
        engine = importlib.import_module("merman").MermanEngine
        return engine(options_json='{"version":2,"resources":{"profile":"constrained"}}', services=None)
    except Exception as error:  # a later release, or a machine it was not built for
        log.warning("merman is installed but of no use here: %s", type(error).__name__)
        return None


class _Span(msgspec.Struct):
    line: int = 1


class _Diagnostic(msgspec.Struct):
    id: str
    message: str
    span: _Span | None = None


class _Analysis(msgspec.Struct):
    valid: bool
    diagnostics: list[_Diagnostic]


def _require_grammar(diagram: str) -> None:
    if not (parser := _parser()):
        return
    try:
        analysis = msgspec.json.decode(parser.analyze_json(diagram, None), type=_Analysis)
    except Exception:  # a parser that fails has judged nothing
        return
    for found in analysis.diagnostics if not analysis.valid else []:
        if found.id == "merman.parse.diagram_parse":
            raise DiagramInvalid(found.span.line if found.span else 1, found.message)


# Kinds of diagrams


def _kind(header: Line) -> Callable[[list[Line]], None]:
    word = re.split(r"[\s;:]", header.text, maxsplit=1)[0]
    if word in STRUCTURES:
        return STRUCTURES[word]
    spelling = {name.lower(): name for name in [*STRUCTURES, *UNJUDGED]}.get(word.lower())
    if not spelling:
        header.refuse(f"the first line must say what diagram it is, one of: {', '.join(STRUCTURES)}")
    if spelling != word:
        header.refuse(f"the first line is spelt {spelling}")
    return lambda _: None


class Blocks:
    """What is open at a line, so that whatever begins also ends."""

    def __init__(self, ending: str = "end") -> None:
        self._open: list[tuple[Line, str]] = []
        self._ending = ending

    def begin(self, line: Line, kind: str) -> None:
        self._open.append((line, kind))

    @property
    def innermost(self) -> str:
        return self._open[-1][1] if self._open else ""

    def end(self, line: Line) -> None:
        if not self._open:
            line.refuse(f"{self._ending!r} ends nothing here: leave it out")
        self._open.pop()

    def require_closed(self) -> None:
        if self._open:
            line, kind = self._open[-1]
            line.refuse(f"this {kind} is never ended: write {self._ending!r} after its last line")


# Flowcharts

DIRECTIONS = {"TB", "TD", "BT", "RL", "LR", ">", "<", "^", "v"}
SHAPES = [("(((", ")))"), ("((", "))"), ("([", "])"), ("(", ")"), ("[[", "]]"), ("[(", ")]"), ("[/", "/]")]
SHAPES += [("[/", "\\]"), ("[\\", "\\]"), ("[\\", "/]"), ("[", "]"), ("{{", "}}"), ("{", "}"), (">", "]")]
RAW = r'(?:"[^"]*"|[^\[\](){}|"]*?)'
LABELS = "|".join(
    re.escape(opening) + (r"(?![/\\])" if opening == "[" else "") + RAW + re.escape(closing)
    for opening, closing in SHAPES
)
FLOW_TOKEN = re.compile(
    rf"""
      (?P<label>(?<=[^\s&;|"()\[\]{{}}<>=.-])(?:{LABELS}))
    | (?P<data>@\{{(?:"[^"]*"|[^"}}])*\}})
    | (?P<edge><?(?: --+[->xo] | ==+[=>xo] | -\.+-[>xo]? | ~~~+
        | --(?:"[^"]*"|[^\n"])*?--+[->xo]
        | ==(?:"[^"]*"|[^\n"])*?==+[=>xo]
        | -\.(?:"[^"]*"|[^\n"])*?\.+-[>xo]? )
        (?:\s*\|(?:"[^"]*"|[^\[\](){{}}|"\n]*)\|)?)
    | (?P<quote>"[^"]*")
    """,
    re.VERBOSE,
)
FREE = re.compile(
    r"(?:style|linkStyle|classDef|class|click|title)\s(?!\s*(?:--|==|-\.|&))(?:\"[^\"\n]*\"|[^\n;\"])*"
    rf"|subgraph\s[^\n;\[\"(]*(?:{LABELS})?"
)
"""Statements, or beginnings of them, that hold anything."""
JOINT = "\0"
"""Stands for an edge in what is left of a flowchart without its labels."""
GOES_ON = re.compile(r"\n\s*<?(?:--|==|-\.|~~~)")
UNREAD = {
    '"': "a double quote is opened and never closed; within a label write #quot; for it",
    "|": "this edge's label is never closed, or holds brackets without quotes: A -->|label| B",
    "[": 'this label is never closed or holds brackets: put it in double quotes, A["the (label)"]',
}
UNREAD |= {
    "(": UNREAD["["],
    "{": UNREAD["["],
    "]": "a bracket is closed that was never opened: quote the label",
}
UNREAD |= {")": UNREAD["]"], "}": UNREAD["]"]}
UNREAD |= dict.fromkeys(
    ["--", "==", "-."], "this edge never ends; one with a label is written A -- label --> B"
)


def _flowchart(lines: list[Line]) -> None:
    header = re.fullmatch(r"(?:graph|flowchart(?:-elk)?)(?:\s+([^\s;]+))?\s*(?:;(.*))?", lines[0].text)
    if not header or (header[1] or "TD") not in DIRECTIONS:
        lines[0].refuse("write a direction after it, and nothing else: flowchart TD (or LR, BT, RL)")
    if sum(line.text.count("&") for line in lines) > MAX_AMPERSANDS:
        lines[0].refuse(f"more than {MAX_AMPERSANDS} times &: draw fewer edges")
    blocks = Blocks()
    for statement in _statements([Line(lines[0].number, header[2] or ""), *lines[1:]]):
        if re.match(r"subgraph\b(?!\s*\0)", statement.text):
            blocks.begin(statement, "subgraph")
        elif statement.text == "end":
            blocks.end(statement)
        elif direction := re.fullmatch(r"direction\s+(\S+)", statement.text):
            if direction[1] not in DIRECTIONS:
                statement.refuse("the direction is one of TB, BT, RL, LR")
        else:
            _require_chain(statement)
    blocks.require_closed()


def _statements(lines: list[Line]) -> Iterator[Line]:
    """The statements of a flowchart without their labels, each edge a JOINT."""
    text = "\n".join(line.text for line in lines) + "\n"
    kept, start, at = "", 0, 0
    while at < len(text):
        if not kept.strip() and (free := FREE.match(text, at)):
            kept, at = ("subgraph " if free[0].startswith("subgraph") else " "), free.end()
        elif token := FLOW_TOKEN.match(text, at):
            kept += {"edge": JOINT, "quote": "q"}.get(token.lastgroup or "", "")
            at = token.end()
        elif (
            text[at] == "\n"
            and kept.strip()
            and (kept.rstrip(" ").endswith(JOINT) or GOES_ON.match(text, at))
        ):
            kept, at = kept + " ", at + 1
        elif text[at] in ";\n":
            if kept.strip():
                yield Line(lines[text.count("\n", 0, start)].number, kept.strip())
            kept, start, at = "", at + 1, at + 1
        elif unread := UNREAD.get(text[at]) or UNREAD.get(text[at : at + 2]):
            lines[text.count("\n", 0, at)].refuse(unread)
        else:
            kept, at = kept + text[at], at + 1
    if kept.strip():  # an edge at the end waits for a node on the next line
        yield Line(lines[text.count("\n", 0, start)].number, kept.strip())


def _require_chain(statement: Line) -> None:
    """Nodes, joined by edges and by &."""
    sides = re.sub(r"\s\S+@\s*\0", JOINT, statement.text).split(JOINT)  # an edge may have an id, e1@-->
    for node in (part.strip() for side in sides for part in re.split(r"(?:^|\s)&(?:\s|$)", side)):
        if not node:
            statement.refuse("an edge needs a node on both sides, and no node is empty: A --> B")
        if node == "end":
            statement.refuse("`end` is a reserved word: give this node another id, such as finish")
        if re.search(r"->|<-|--|==", node):
            statement.refuse("an edge is written -->, ---, -.-> or ==>, with a label -->|label|")
        if re.search(r"\s", re.sub(r"\s+[xo]$", "", node)):
            statement.refuse('a node\'s id is one word, its label follows in brackets: id["the label"]')


# Sequences

SEQUENCE_BLOCKS = {"loop", "alt", "opt", "par", "par_over", "critical", "break", "rect", "box"}
BRANCHES = {"else": {"alt"}, "and": {"par", "par_over"}, "option": {"critical"}}
MESSAGE = re.compile(
    r"(.+?)\s*(?:<<--?>>|--?>>|--?>|--?[x)]|--?\|?[\\/]+|[\\/]+\|?--?)(?:\(\))?\s*[+-]?\s*([^:]*?)\s*(:.*)?"
)
STATEMENT = re.compile(
    r"(?:participant|actor|create\s+(?:participant|actor)|destroy|activate|deactivate|links?|title|autonumber"
    r"|properties|details)\b",
    re.IGNORECASE,
)
NOTE = re.compile(r"note\s+(?:(?:left|right)\s+of|over)\s+[^:]+:.*", re.IGNORECASE)


def _sequence(lines: list[Line]) -> None:
    blocks = Blocks()
    for line in lines[1:]:
        word = re.split(r"[\s:;]", line.text, maxsplit=1)[0].lower()
        if word in SEQUENCE_BLOCKS:
            blocks.begin(line, word)
        elif line.text.rstrip(";").strip().lower() == "end":
            blocks.end(line)
        elif word in BRANCHES:
            if blocks.innermost not in BRANCHES[word]:
                line.refuse(f"{word!r} belongs into a block that begins with {min(BRANCHES[word])!r}")
        elif word == "note":
            if not NOTE.fullmatch(line.text):
                line.refuse("a note is written: Note over Alice,Bob: text (or left of, right of)")
        elif not STATEMENT.match(line.text):
            _require_message(line)
    blocks.require_closed()


def _require_message(line: Line) -> None:
    message = MESSAGE.fullmatch(line.text)
    if not message or not message[2]:
        line.refuse("not a statement of a sequence diagram; a message is written: Alice->>Bob: text")
    if message[3] is None:
        line.refuse("a message needs a text after a colon: Alice->>Bob: text")
    if "end" in {message[1].lower(), message[2].lower()}:
        line.refuse("`end` is a reserved word: give this participant another name")
    rest = re.sub(r"[#&]\w+;", "", message[3]).rstrip("; ")
    if ";" in rest and not all(
        MESSAGE.fullmatch(part.strip()) for part in rest.split(";")[1:] if part.strip()
    ):
        line.refuse("a semicolon ends the statement: leave it out of the text, or write #59;")


# Classes, states and entities: lines, and blocks in braces


def _class(lines: list[Line]) -> None:
    blocks = Blocks("}")
    for line in lines[1:]:
        if line.text == "}":
            blocks.end(line)
        elif re.match(r"(?:class|namespace)\b", line.text) and re.search(r"\{[^{}]*$", line.text):
            blocks.begin(line, "block")
        elif blocks.innermost and not re.match(r"(?:class|namespace|note)\b", line.text):
            continue
        elif re.search(r"(?<!-)->", re.sub(r'"[^"]*"', "", line.text).partition(":")[0]):
            line.refuse("a relation is written A <|-- B, A *-- B, A o-- B, A --> B or A ..> B")
        elif re.match(
            r"(?:<\||[*o<])?(?:--|\.\.)|.*(?:--|\.\.)(?:\|>|[*o>])?\s*$", line.text.partition(":")[0]
        ):
            line.refuse("a relation needs a class on both sides: A <|-- B")
    blocks.require_closed()


def _state(lines: list[Line]) -> None:
    blocks, note = Blocks("}"), Blocks("end note")
    for line in lines[1:]:
        if line.text.lower() == "end note":
            note.end(line)
        elif note.innermost:
            continue
        elif re.fullmatch(r"note\s+(?:left|right)\s+of\s+[^:]+", line.text, re.IGNORECASE):
            note.begin(line, "note")
        elif line.text == "}":
            blocks.end(line)
        elif line.text.startswith("state ") and line.text.endswith("{"):
            blocks.begin(line, "state")
        elif "->" in re.sub(r'"[^"]*"', "", line.text.partition(":")[0]):
            _require_transition(line)
    note.require_closed()
    blocks.require_closed()


def _require_transition(line: Line) -> None:
    sides = [side.strip() for side in re.sub(r":(?!::).*", "", line.text.replace(":::", "\0")).split("-->")]
    if len(sides) != 2 or not all(sides) or "->" in "".join(sides):
        line.refuse("a transition is written: Idle --> Running : what happens")
    if any(re.search(r"\s", side) for side in sides):
        line.refuse('a state is one word; a longer name is given before: state "Idle again" as Idle2')


ENTITY = r'(?:[^\s"{}|]+|"[^"]+")(?:\[[^\]]*\])?(?::::?[\w,-]+)?'
BLOCK = re.compile(rf"{ENTITY}\s*\{{(?P<body>[^{{}}]*)(?P<closed>\}})?")
CARDINALITY = r"(?:[|}][|o]|[|o][|{]|u)"
IDENTIFYING = r"(?:--|\.\.|\.-|-\.|to|optionally to)"
RELATION = re.compile(
    rf"({ENTITY})\s*{CARDINALITY}\s*{IDENTIFYING}\s*{CARDINALITY}\s*({ENTITY})\s*(:\s*\S.*)?"
)
ATTRIBUTE = re.compile(
    r'[^\s"]+\s+[^\s"]+(?:\s+(?:PK|FK|UK)(?:\s*,\s*(?:PK|FK|UK))*)?(?:\s+"[^"]*")?', re.IGNORECASE
)
WORDS = re.compile(
    r"(?:direction|classDef|class|style|title)\s|.*\s(?:one|zero|many|only|optionally)\b", re.IGNORECASE
)


def _entities(lines: list[Line]) -> None:
    blocks = Blocks("}")
    for line in lines[1:]:
        if line.text == "}":
            blocks.end(line)
        elif blocks.innermost:
            if not ATTRIBUTE.fullmatch(line.text):
                line.refuse('an attribute is written: type name PK "comment"')
        elif block := BLOCK.fullmatch(line.text):
            if not block["closed"]:
                blocks.begin(line, "entity")
        elif relation := RELATION.fullmatch(line.text):
            if not relation[3]:
                line.refuse("a relation needs a label: CUSTOMER ||--o{ ORDER : places")
        elif not WORDS.match(line.text) and not re.fullmatch(ENTITY, line.text):
            line.refuse("a relation is written: CUSTOMER ||--o{ ORDER : places")
    blocks.require_closed()


# Diagrams of one statement a line

ENTRY = {
    "gantt": (
        r"(?:title|dateFormat|axisFormat|tickInterval|excludes|includes|todayMarker|weekday|weekend|section|click)\b.*"
        r"|inclusiveEndDates|topAxis|displayMode.*|[^:]+:\s*\S.*",
        "a task is written: The task :id, 2026-01-31, 5d",
    ),
    "pie": (r'title\b.*|showData|"[^"]+"\s*:\s*\d+(?:\.\d+)?', 'a slice is written: "Label" : 42.5'),
    "journey": (
        r"(?:title|section)\b.*|[^:]+:\s*-?\d+(?:\.\d+)?\s*(?::.*)?",
        "a step is written: The step: 5: Me, Cat (a score of 1 to 5, then who)",
    ),
    "quadrantChart": (
        r"title\b.*|[xy]-axis\s+\S.*|quadrant-[1-4]\s+\S.*|classDef\s.*"
        r"|[^\[\]]+:\s*\[\s*(?:1|0(?:\.\d+)?)\s*,\s*(?:1|0(?:\.\d+)?)\s*\].*",
        "a point is written: Name: [0.3, 0.75], with both numbers from 0 to 1",
    ),
    "timeline": (r".*", ""),
}


def _entries(lines: list[Line]) -> None:
    pattern, otherwise = ENTRY[lines[0].text.split()[0]]
    for line in lines[1:]:
        if not re.fullmatch(pattern, line.text):
            line.refuse(otherwise)


def _mindmap(lines: list[Line]) -> None:
    nodes = [line for line in lines[1:] if not line.text.startswith("::")]
    for line in nodes[1:]:
        if line.indent <= nodes[0].indent:
            line.refuse("a mindmap has one root: indent everything below it more than it")
    for line in nodes:
        bare = re.sub(r'"[^"]*"', "", line.text)
        if any(bare.count(opening) != bare.count(closing) for opening, closing in ("[]", "{}", "()")):
            line.refuse('the brackets around this label do not match: id["the label"]')


GIT = re.compile(r'(commit|branch|checkout|switch|merge|cherry-pick)\b\s*("[^"]*"|[^\s:]*)')


def _git(lines: list[Line]) -> None:
    branches = {"main"}
    for line in lines[1:]:
        command = GIT.match(line.text)
        if not command:
            line.refuse("a line is one of commit, branch NAME, checkout NAME, merge NAME, cherry-pick")
        name = command[2].strip('"')
        if command[1] == "branch":
            if name in branches:
                line.refuse("there is a branch of this name already: check it out instead")
            branches.add(name)
        elif command[1] in {"checkout", "switch", "merge"} and name not in branches:
            line.refuse(
                "there is no branch of this name yet (the first one is main): write `branch NAME` before"
            )


STRUCTURES: dict[str, Callable[[list[Line]], None]] = {
    "flowchart": _flowchart,
    "graph": _flowchart,
    "flowchart-elk": _flowchart,
    "sequenceDiagram": _sequence,
    "classDiagram": _class,
    "classDiagram-v2": _class,
    "stateDiagram": _state,
    "stateDiagram-v2": _state,
    "erDiagram": _entities,
    "gantt": _entries,
    "pie": _entries,
    "journey": _entries,
    "quadrantChart": _entries,
    "timeline": _entries,
    "mindmap": _mindmap,
    "gitGraph": _git,
}
UNJUDGED = ["C4Context", "C4Container", "C4Component", "C4Dynamic", "C4Deployment", "requirementDiagram"]
UNJUDGED += [
    "sankey",
    "sankey-beta",
    "xychart",
    "xychart-beta",
    "block",
    "block-beta",
    "packet",
    "packet-beta",
]
UNJUDGED += ["kanban", "architecture-beta", "radar-beta", "treemap", "treemap-beta"]
"""Other kinds that clients draw: they pass, safe but unread."""

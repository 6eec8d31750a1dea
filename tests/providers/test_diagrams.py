"""What counts as a Mermaid diagram, by examples of the kind that Mermaid's documentation has."""

import contextlib
import time
from textwrap import dedent

import pytest

from providers import diagrams
from providers.diagrams import MAX_AMPERSANDS, MAX_BYTES, MAX_LINES, DiagramInvalid, check

VALID = {
    "flowchart": """\
        flowchart LR
            A[Hard edge] -->|Link text| B(Round edge)
            B --> C{Decision}
            C -->|One| D[Result one]
            C -->|Two| E[Result two]""",
    "flowchart in one line": "graph TD; A-->B; A-->C; B-->D; C-->D;",
    "flowchart without a direction": "graph\n    A --- B",
    "flowchart of all shapes": """\
        flowchart TD
            a[box] --> b(round) --> c([stadium]) --> d[[subroutine]] --> e[(database)]
            f((circle)) --> g>flag] --> h{rhombus} --> i{{hexagon}} --> j[/lean right/]
            k[\\lean left\\] --> l[/trapezoid\\] --> m[\\other/] --> n(((double)))
            o@{ shape: manual-file, label: "File handling" } --> p""",
    "flowchart of all edges": """\
        flowchart LR
            A --> B --- C -- text --- D ---|text| E -->|text| F
            F -- text --> G -.-> H -. text .-> I ==> J == text ==> K ~~~ L
            A --o B
            B --x C
            A o--o B
            B <--> C
            C x--x D
            A ----> E
            A & B --> C & D
            A -->
            B
            C
            --> D
            A e2@==> B""",
    "flowchart with quoted labels": """\
        flowchart TD
            A["Line (one) [two] {three}"] --> B["end; of -- it"]
            B -->|"a (label)"| C["`**Markdown**
            in two lines`"]
            C -- "quoted -- text" --> D["#quot;x#quot; <br/> <br> y"]
            my-node --> Ünïcode["你好"]""",
    "flowchart with subgraphs": """\
        flowchart TB
            %% a comment
            c1-->a2
            subgraph one
                direction LR
                a1-->a2
            end
            subgraph ide1 [Another one]
                subgraph "deep inside"
                    b1-->b2
                end
            end
            one --> ide1
            style one fill:#f9f,stroke:#333,stroke-width:4px
            classDef green fill:#9f6;
            class a1,b1 green
            a1:::green --> b1:::green
            linkStyle 0 stroke:#ff3,color:red;
            click a1 "https://example.org/x" "A tooltip" _blank
            click b1 href "https://example.org/y;z" """,
    "flowchart with End": "flowchart TD\n    Start --> End\n    endpoint --> weekend",
    "sequence": """\
        sequenceDiagram
            autonumber
            participant A as Alice
            actor B as Bob
            A->>+B: Hello Bob, how are you?
            B-->>-A: Great! #59; really
            A-)B: See you later!
            A-xB: lost
            A->B: solid
            B-->A: dotted
            A<<->>B: both
            Note right of B: Bob thinks
            Note over A,B: A typical interaction<br>of two
            A->>A: self; A->>B: again
            link A: Dashboard @ https://dashboard.example.org""",
    "sequence with blocks": """\
        sequenceDiagram
            box Purple Alice & John
            participant Alice
            participant John
            end
            loop Every minute
                John-->>Alice: Great!
            end
            alt is sick
                Alice->>John: Not so good :(
            else is well
                Alice->>John: Feeling fresh
            end
            opt Extra
                John->>Alice: Thanks
            end
            par Alice to Bob
                Alice->>Bob: Hello
            and Alice to John
                Alice->>John: Hello
            end
            critical Connect
                Alice-->Bob: connect
            option Timeout
                Alice-->Alice: log
            end
            break when it fails
                Alice-->John: show failure
            end
            rect rgb(191, 223, 255)
                activate Alice
                Alice->>John: hi
                deactivate Alice
            end
            create participant Carl
            Alice->>Carl: Hi Carl!
            destroy Carl
            Alice-xCarl: We are too many""",
    "class": """\
        classDiagram
            note "From Duck till Zebra"
            Animal <|-- Duck
            Animal : +int age
            Animal: +isMammal() bool
            class Duck{
                +String beakColor
                +swim()
                +List~int~ position
            }
            class Shape {
                <<interface>>
                noOfVertices
            }
            class Color
            <<enumeration>> Color
            Customer "1" --> "*" Ticket : has
            A --* B
            A ..|> C
            namespace BaseShapes {
                class Triangle
                class Rectangle {
                    double width
                }
            }
            class Square~Shape~
            click Shape href "https://example.org" "tip" """,
    "state": """\
        stateDiagram-v2
            direction LR
            [*] --> Still
            Still --> Moving : a push
            Moving --> [*]
            state "This is a description" as s2
            s3 : A text -> for it
            state fork_state <<fork>>
            fork_state --> s2
            state First {
                [*] --> second
                --
                [*] --> third
            }
            note right of Still
                Important -> information
            end note
            note left of s2 : short
            classDef bad fill:red
            Still:::bad --> s2""",
    "entities": """\
        erDiagram
            CUSTOMER ||--o{ ORDER : places
            ORDER ||--|{ LINE-ITEM : contains
            CUSTOMER }|..|{ DELIVERY-ADDRESS : "uses many"
            CUSTOMER {
                string name
                string custNumber PK, FK "the number"
                varchar(255) sector UK
                string[] parts
            }
            PERSON[Person] {
                int id PK
            }
            CAR 1 to zero or more NAMED-DRIVER : allows""",
    "gantt": """\
        gantt
            title A Gantt Diagram
            dateFormat YYYY-MM-DD
            excludes weekends
            section Section
                A task          :a1, 2014-01-01, 30d
                Another task    :after a1, 20d
            section Another
                Done            :done, crit, des1, 2014-01-06, 2014-01-08
                Milestone       :milestone, m1, 2014-01-25, 0d""",
    "pie": 'pie showData title Pets\n    "Dogs" : 386\n    "Cats & co" : 85.9',
    "mindmap": """\
        mindmap
          root((mindmap))
            Origins
              Long history
              ::icon(fa fa-book)
            Research
              id["On (effectiveness)<br/>and features"]
              Smile
              ))bang((
            Tools""",
    "timeline": """\
        timeline
            title History of Social Media
            section Early
                2002 : LinkedIn
                2004 : Facebook
                     : Google
            2005 : YouTube""",
    "journey": """\
        journey
            title My working day
            section Go to work
              Make tea: 5: Me
              Go upstairs: 3: Me, Cat""",
    "git": """\
        gitGraph
            commit id: "Alpha"
            branch develop
            checkout develop
            commit type: HIGHLIGHT tag: "v1"
            branch "feature/x" order: 2
            switch main
            merge develop id: "m" tag: "v2"
            commit""",
    "git from left to right": "gitGraph LR:\n    commit\n    commit",
    "quadrants": """\
        quadrantChart
            title Reach and engagement
            x-axis Low Reach --> High Reach
            y-axis Low --> High
            quadrant-1 We should expand
            quadrant-2 Need to promote
            Campaign A: [0.3, 0.6]
            Campaign B: [1, 0] radius: 12""",
    "title in front": "---\ntitle: A flow\n---\nflowchart TD\n    A --> B",
    "description for readers": """\
        flowchart TD
            accTitle: What it shows
            accDescr {
                It has (two
                lines
            }
            A --> B""",
    "kind that is not judged": 'xychart-beta\n    title "Sales"\n    x-axis [jan, feb]\n    bar [1, 2]',
}

NOT_MEANT = {
    "nothing": ("", 1, "empty"),
    "words": ("Here is your diagram", 1, "flowchart"),
    "a misspelt kind": ("sequencediagram\nA->>B: x", 1, "sequenceDiagram"),
    "no direction there is": ("flowchart XY\nA --> B", 1, "direction"),
    "too many &": ("flowchart TD\nA" + " & A" * (MAX_AMPERSANDS + 1) + " --> B", 1, "&"),
    "a state of two words": ("stateDiagram-v2\n[*] --> Not running", 2, "one word"),
    "a step without score": ("journey\nsection a\nGo: Me", 3, "step"),
}
"""Refused whoever judges: nobody could draw it, or it would be drawn as something else."""

BROKEN = {
    "a label that is not closed": ("flowchart TD\nA[Hello --> B[World]", 2, "quote it"),
    "a label that is never closed": (
        "flowchart TD\nA --> B\nB --> C[World",
        3,
        "Unterminated node label",
    ),
    "brackets in a label": ("flowchart TD\nA --> B[f(x) = 1]", 2, "quote it"),
    "quotes in a label": ('flowchart TD\nA[say "hi" now]', 2, "quote it"),
    "a path as a label": ("flowchart TD\nA[/path/to] --> B", 2, "missing `/]`"),
    "a quote that is never closed": ('flowchart TD\nA --> B\nB["hi]', 3, "Unterminated node label"),
    "the wrong bracket": ("flowchart TD\nA[x} --> B", 2, "missing `]`"),
    "an edge to nowhere": ("flowchart TD\nA --> B\nB -->", 3, "expected node"),
    "an edge from nowhere": ("flowchart TD\n--> B", 1, "unexpected edge"),
    "an arrow of one dash": ("flowchart TD\nA -> B", 2, "incomplete flowchart edge"),
    "an edge label that is not closed": (
        "flowchart TD\nA -->|yes B",
        2,
        "pipe edge label",
    ),
    "brackets in an edge's label": ("flowchart TD\nA -->|f(x)| B", 2, "quote it"),
    "an edge that goes on to nothing": (
        "flowchart TD\nsubgraph a\nA -->\nend",
        4,
        "unexpected end; expected node",
    ),
    "an edge that does not end": ("flowchart TD\nA -- yes B", 2, "Unterminated edge label"),
    "a node of two words": ("flowchart TD\nfirst step --> B", 2, "unexpected identifier"),
    "a node called end": ("flowchart TD\nA --> end", 2, "unexpected end; expected node"),
    "a subgraph without end": ("flowchart TD\nsubgraph one\nA --> B", 3, '"end"'),
    "an end without subgraph": ("flowchart TD\nA --> B\nend", 3, "unexpected end"),
    "a direction in a subgraph": (
        "flowchart TD\nsubgraph a\ndirection up\nA\nend",
        3,
        "invalid",
    ),
    "an alt without end": ("sequenceDiagram\nalt x\nA->>B: hi", 3, "unexpected end of input"),
    "an end too many": ("sequenceDiagram\nA->>B: hi\nend", 3, "unexpected end"),
    "else in a loop": ("sequenceDiagram\nloop x\nA->>B: a\nelse\nB->>A: b\nend", 4, "unexpected else"),
    "a message without text": ("sequenceDiagram\nA->>B", 2, "Alice->>Bob: text"),
    "a message to nobody": ("sequenceDiagram\nA->>: hi", 2, "unexpected text"),
    "prose in a sequence": ("sequenceDiagram\nAlice greets Bob", 2, "Alice->>Bob: text"),
    "a semicolon in a message": ("sequenceDiagram\nA->>B: hi; there", 2, "#59;"),
    "a note without place": ("sequenceDiagram\nNote: hi", 2, '"over"'),
    "a participant called end": ("sequenceDiagram\nA->>end: hi", 2, "unexpected end"),
    "a class without brace": ("classDiagram\nclass A {\n+int x", 3, "EOF inside class body"),
    "a brace too many in classes": ("classDiagram\nclass A\n}", 3, "unexpected struct stop"),
    "a relation to nothing": ("classDiagram\nA <|--", 2, "unexpected end of input"),
    "an arrow of one dash between classes": ("classDiagram\nA->B", 2, "expected line, dotted line"),
    "a state without brace": ("stateDiagram-v2\nstate A {\n[*] --> B", 3, 'expected "}"'),
    "a transition to nothing": ("stateDiagram-v2\nA -->", 2, "expected node"),
    "an arrow of one dash between states": ("stateDiagram-v2\nA -> B", 2, "Unexpected character '-'"),
    "a note that does not end": ("stateDiagram-v2\nnote left of A\nhi", 3, "end note"),
    "a relation of unknown kind": ("erDiagram\nA --> B : has", 2, "||--o{"),
    "an attribute without name": ("erDiagram\nA {\nstring\n}", 4, "expected question, attr word"),
    "an entity that does not end": ("erDiagram\nA {\nstring name", 3, "EOF inside attribute block"),
    "a task without data": ("gantt\nsection a\nsome task", 3, "unrecognized statement: some task"),
    "a slice without quotes": ("pie\nDogs : 3", 2, "Dogs : 3"),
    "a slice of no number": ('pie\n"Dogs" : many', 2, '"Dogs" : many'),
    "two roots": ("mindmap\n  root\n    a\n  other", 4, "only one root"),
    "a mindmap's bracket": ("mindmap\n  root\n    a[x", 3, "unterminated node"),
    "a branch that is not there": ("gitGraph\ncommit\ncheckout dev", 3, "branch dev"),
    "a branch made twice": ("gitGraph\ncommit\nbranch a\nbranch a", 4, "existing branch"),
    "a point beyond 1": ("quadrantChart\nA: [0.3, 2]", 2, "coordinate"),
}
"""What Mermaid's own grammar refuses, with the line at which it noticed."""

SLOW = "sequenceDiagram\n" + "A@{" * 6_500

UNSAFE = {
    "a directive": ('%%{init: {"securityLevel": "loose"}}%%\nflowchart TD\nA --> B', 1),
    "a directive further down": ("flowchart TD\nA --> B\n  %%{ wrap }%%", 3),
    "settings in front": ("---\nconfig:\n  securityLevel: loose\n---\nflowchart TD\nA", 2),
    "a script": ('flowchart TD\nA["<script>alert(1)</script>"]', 2),
    "a picture": ('flowchart TD\nA["<img src=x onerror=alert(1)"]', 2),
    "bold": ("sequenceDiagram\nA->>B: <b>hi</b>", 2),
    "an event handler on a line break": ('flowchart TD\nA["a<br onclick=alert(1)>b"]', 2),
    "script as an address": ('flowchart TD\nA-->B\nclick A href "javascript:alert(1)"', 3),
    "script as an address, hidden": ('flowchart TD\nA-->B\nclick A "java&#115;cript:alert(1)"', 3),
    "a callback": ("flowchart TD\nA-->B\nclick A doIt", 3),
    "a call": ("flowchart TD\nA-->B\nclick A call doIt()", 3),
    "a callback in one line": ("flowchart TD; A-->B; click A doIt", 1),
    "a callback behind a label": ('flowchart TD\nA["x"]; click A doIt', 2),
    "a callback behind a label of two lines": ('flowchart TD\nA["x\n"]; click A doIt; B["y"]', 3),
    "a callback behind a description": ("flowchart TD\naccDescr { a } b\nclick A doIt\n}", 3),
    "a callback behind what looks like one": ('flowchart TD\nA["\naccDescr {\n"]\nclick A doIt\n}', 5),
    "an address in capitals": ('gantt\nt :a, 2026-01-01, 1d\nCLICK a HREF "javascript:alert(1)"', 3),
    "a callback of a class": ('classDiagram\nclass A\ncallback A "doIt"', 3),
    "an address of a class": ('classDiagram\nclass A\nlink A "javascript:alert(1)"', 3),
    "an address of a task": ('gantt\nt :a, 2026-01-01, 1d\nclick a href "javascript:alert(1)"', 3),
    "an address of a participant": ("sequenceDiagram\nparticipant A\nlink A: x @ javascript:alert(1)", 3),
    "addresses of a participant": (
        'sequenceDiagram\nparticipant A\nlinks A: {"x": "javascript:alert(1)"}',
        3,
    ),
    "a picture from elsewhere": ('flowchart TD\nA@{ img: "https://evil.example/p.png" }', 2),
    "a style from elsewhere": ("flowchart TD\nA\nstyle A fill:url(https://evil.example)", 3),
    "a control character": ("flowchart TD\nA\x1b --> B", 2),
}


@pytest.fixture(params=["structure alone", "with merman"])
def _judges(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "structure alone":
        monkeypatch.setattr(diagrams, "_parser", lambda: None)
    elif diagrams._parser() is None:
        pytest.skip("the wheel of merman is not installed")


@pytest.mark.usefixtures("_judges")
@pytest.mark.parametrize("name", VALID)
def test_valid_diagrams_come_back_as_they_are(name: str) -> None:
    diagram = dedent(VALID[name]).rstrip()
    assert check(diagram) == diagram


@pytest.mark.usefixtures("_judges")
@pytest.mark.parametrize("name", NOT_MEANT)
def test_what_nobody_would_draw_as_it_is_meant_is_refused(name: str) -> None:
    assert_refused(*NOT_MEANT[name])


@pytest.mark.skipif(diagrams._parser() is None, reason="the wheel of merman is not installed")
@pytest.mark.parametrize("name", BROKEN)
def test_broken_diagrams_are_refused_with_the_line_and_what_to_do(name: str) -> None:
    assert_refused(*BROKEN[name])


def assert_refused(diagram: str, line: int, reason: str) -> None:
    with pytest.raises(DiagramInvalid) as refused:
        check(diagram)
    assert refused.value.line == line
    assert reason in refused.value.reason
    assert str(refused.value) == f"line {line}: {refused.value.reason}"


@pytest.mark.skipif(diagrams._parser() is None, reason="the wheel of merman is not installed")
def test_what_takes_the_grammar_too_long_is_refused() -> None:
    started = time.monotonic()
    with pytest.raises(DiagramInvalid, match="too long"):
        check(SLOW)
    assert time.monotonic() - started < 10  # it would take 15 s, and takes 1


@pytest.mark.usefixtures("_judges")
@pytest.mark.parametrize("name", UNSAFE)
def test_what_could_act_or_fetch_in_the_reader_is_refused(name: str) -> None:
    diagram, line = UNSAFE[name]
    with pytest.raises(DiagramInvalid) as refused:
        check(diagram)
    assert refused.value.line == line


@pytest.mark.parametrize(
    "text",
    [
        '```mermaid\npie\n    "a" : 1\n```',
        '```\npie\n    "a" : 1\n```\n',
        'Here it is:\n\n```mermaid\r\npie\r\n    "a" : 1\r\n```\nEnjoy!',
        '```mermaid\npie\n    "a" : 1',
        '\n\npie\n    "a" : 1\n\n',
    ],
)
def test_the_fence_around_a_diagram_is_taken_off(text: str) -> None:
    assert check(text) == 'pie\n    "a" : 1'


def test_a_diagram_is_of_limited_size() -> None:
    check("flowchart TD\n" + "A --> B\n" * (MAX_LINES - 1))
    with pytest.raises(DiagramInvalid, match="lines"):
        check("flowchart TD\n" + "A --> B\n" * (MAX_LINES + 1))
    with pytest.raises(DiagramInvalid, match="bytes"):
        check("flowchart TD\nA[" + "x" * MAX_BYTES + "]")


BAITS = [
    'A["',
    "A[",
    "A(((",
    "A{{",
    "--",
    "-- a ",
    "A -- ",
    "==",
    "-. ",
    '"',
    "|",
    "-->|",
    "A@{",
    "<",
    "</a ",
    "&",
]
BAITS += [
    "subgraph ",
    "A-->",
    ";",
    "click ",
    'click a "',
    "%",
    ":",
    "->>",
    "a : ",
    "title ",
    "}|",
    "` ",
    "< ",
    "<a",
]


@pytest.mark.usefixtures("_judges")
@pytest.mark.parametrize(
    "header", ["flowchart TD\n", "sequenceDiagram\n", "stateDiagram\n", "erDiagram\n", "```\n"]
)
@pytest.mark.parametrize("bait", BAITS)
def test_no_text_makes_the_check_slow(header: str, bait: str) -> None:
    for text in (bait * (19_000 // len(bait)), (bait * (90 // len(bait)) + "\n") * 198):
        started = time.process_time()
        with contextlib.suppress(DiagramInvalid):
            check(header + text)
        assert time.process_time() - started < 2

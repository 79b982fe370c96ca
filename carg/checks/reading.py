"""How a scene becomes what the checks look at: parsed, validated, read back and executed again, each once."""

from __future__ import annotations

from collections.abc import Iterator

from carg.checks.ledger import contradictions
from carg.checks.views import SHAPE_BREAKERS, Referees, Transcript, Turn, by_last_name, shown_records
from carg.errors import CargError
from carg.records import Convention, Definition, Json, Response, Row, Violation
from carg.scene import Scene
from carg.world.syntax import Parsed


def live_referees() -> Referees:
    """The referees of a real run: the world's parsers and replay, and the schema validator."""
    from carg.schemas import faults
    from carg.world.predicates import rule_holds
    from carg.world.replay import replay_answers
    from carg.world.syntax import parse_call
    from carg.world.wording import read_response

    heard: dict[str, Parsed] = {}
    """How the replay of the scene at hand read its calls: nobody need read them twice."""

    def replay_world(scene: Scene) -> list[Response] | None:
        heard.clear()
        if not any(item.truth == "code" for item in scene.session.exchanges):
            return None
        answers = replay_answers(scene)
        heard.update((item.call.text, item.parsed) for item in answers)
        return [item.response for item in answers]

    def parse(convention: Convention, text: str, definitions: dict[str, Definition]) -> Parsed:
        return heard.get(text) or parse_call(convention, text, definitions)

    return Referees(parse, read_response, faults, replay_world, rule_holds)


def read_scene(scene: Scene, referees: Referees, row: Row | None = None) -> Transcript:
    """The scene as the checks see it; the only place where texts are parsed, validated and executed again."""
    id_keys, replayed = _id_keys(scene), referees.replay(scene)
    turns = tuple(_read_turn(scene, index, referees, id_keys) for index in range(len(scene.session.exchanges)))
    # Calls behind one system text that share no state cannot contradict each other.
    found = contradictions(turns) if scene.session.kind == "session" else {}
    return Transcript(scene, turns, replayed, row, found)


def _read_turn(scene: Scene, index: int, referees: Referees, id_keys: dict[str, str]) -> Turn:
    exchange = scene.session.exchanges[index]
    call, response = exchange.call, exchange.response
    definition = scene.definitions.get(call.tool) if call.tool else None
    convention = scene.instance.convention
    faults: tuple[Violation, ...] = ()
    body_faults: tuple[Violation, ...] = ()
    read: Response | str | None = None
    records: tuple[tuple[str, dict[str, Json]], ...] = ()
    broken = exchange.directive is not None and exchange.directive.fault in SHAPE_BREAKERS
    if definition and call.arguments is not None:
        faults = referees.faults(definition.parameters, call.arguments)
        if not faults and not scene.instance.domain_digest:  # Of a world's rules execution is the judge.
            faults = tuple(_fired(definition, call.arguments, referees))
    if definition and not broken:
        read = _read_answer(scene, response.text, definition, referees)
        if response.ok and definition.returns is not None:
            body_faults = referees.faults(definition.returns, response.body)
    if definition and response.ok:
        records = tuple(shown_records(definition, response.body, id_keys))
    parsed = referees.parse_call(convention, call.text, scene.definitions)
    named = by_last_name(call.arguments, definition.inputs if definition else {}) if call.arguments else {}
    return Turn(scene, index, exchange, definition, parsed, faults, body_faults, read, named, records)


def _read_answer(scene: Scene, text: str, definition: Definition, referees: Referees) -> Response | str:
    """What the text says, or why it cannot be read."""
    try:
        return referees.read_response(scene.instance.convention, text, definition)
    except CargError as fault:
        return fault.message


def _fired(definition: Definition, arguments: dict[str, Json], referees: Referees) -> Iterator[Violation]:
    for error in definition.errors:
        source = (error.when or {}).get("rule")
        if isinstance(source, str) and referees.rule_holds(source, definition.parameters, arguments):
            yield Violation(error.code, error.fault, error.field)


def _id_keys(scene: Scene) -> dict[str, str]:
    """The name of the id in records of each resource, as the tools that show one record say it."""
    shown = (item for item in scene.definitions.values() if item.resource and item.id_result)
    return {item.resource or "": (item.id_result or "").rpartition(".")[2] for item in shown}

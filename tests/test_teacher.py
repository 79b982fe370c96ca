"""carg.stats.teacher: what counts as agreement with executed truth."""

from __future__ import annotations

import pytest

from carg.records import Json, Response, ToolError
from carg.stats.teacher import Agreement

SCHEMA = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "kg": {"type": "number"}},
    "required": ["id", "kg"],
}
BODY = {"id": "A1", "kg": 12.5}


def body(value: Json) -> Response:
    return Response(True, "", value)


def error(code: str = "gone", field: str | None = "id") -> Response:
    return Response(False, "", None, ToolError(code, "state.not_found", 404, "Not here.", field))


NONSENSE = Response(False, "??")


@pytest.mark.parametrize(
    ("wanted", "given", "expected"),
    [
        (body(BODY), body(BODY), (1, 1, 0, 0, 2, 2)),
        (body(BODY), body(BODY | {"kg": 12}), (1, 1, 0, 0, 2, 1)),
        (body(BODY), body({"id": "A1"}), (0, 0, 0, 0, 2, 1)),
        (body(BODY), error(), (1, 0, 0, 0, 2, 0)),
        (body(BODY), NONSENSE, (0, 0, 0, 0, 2, 0)),
        (error(), error(), (1, 1, 1, 1, 0, 0)),
        (error(), error(field=None), (1, 1, 1, 0, 0, 0)),
        (error(), error("lost"), (1, 1, 0, 0, 0, 0)),
        (error(), body(BODY), (1, 0, 0, 0, 0, 0)),
        (body({"id": "A1"}), body({"id": "A1"}), (1, 1, 0, 0, 1, 1)),
        (body({"id": "A1"}), body(BODY), (1, 0, 0, 0, 1, 1)),
        (body({"id": "A1"}), NONSENSE, (0, 0, 0, 0, 1, 0)),
    ],
)
def test_an_answer_is_compared_with_the_true_one(wanted: Response, given: Response, expected: tuple[int, ...]) -> None:
    """Readable, label, code, field, values, right ones; the last three true bodies lack a field, as directives make."""
    line = Agreement()

    line.add(wanted, given, SCHEMA, ())

    assert (line.readable, line.label, line.fault, line.place, line.values, line.right) == expected

"""What a directive makes of a response: deterministic, and spelled out so that a model can obey what it reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from carg.errors import RecordError
from carg.records import Convention, Definition, Directive, Json, Response, ToolError
from carg.world.wording import answer, refuse, style_code


def settle_directive(definition: Definition, response: Response, directive: Directive) -> Directive:
    """The directive with every detail filled in that `degrade` needs; what is there already is kept.

    timeout `after_s`; rate_limit `retry_after_s`; server_error `status`; truncated `share` of the characters kept;
    missing_field `pointer` (JSON pointer, null where the body has no field to lose); partial `kept` items (null
    where the body has no list); stale must bring its `body`.
    """
    drawn = _draw(definition, response.body, directive.fault, Random(directive.seed))
    return replace(directive, detail={**drawn, **directive.detail})


def degrade(convention: Convention, definition: Definition, response: Response, directive: Directive) -> Response:
    """What the fault makes of a sound response. A truncated one has text, but no body.

    Refusals lose text when truncated, and give way to timeouts and the like; other faults leave them alone.
    Raises RecordError when a stale answer has no older body.
    """
    settled = settle_directive(definition, response, directive)
    fault, detail = settled.fault, settled.detail
    if fault in ("timeout", "rate_limit", "server_error"):
        return refuse(convention, _outage(convention, fault, detail))
    if fault == "truncated":
        cut = min(max(1, int(len(response.text) * detail["share"])), max(1, len(response.text) - 1))
        return Response(response.ok, response.text[:cut])
    if not response.ok:
        return response
    if fault == "stale":
        if "body" not in detail:
            raise RecordError("a stale directive without a `body`", "give the older body in its detail")
        return answer(convention, definition, detail["body"])
    if fault == "missing_field":
        path = None if detail["pointer"] is None else _steps(detail["pointer"])
        body = _without(response.body, path) if path else response.body
    else:
        path = _list_path(definition, response.body)
        kept = detail["kept"]
        body = response.body if path is None or kept is None else _shorten(response.body, path, kept)
    return answer(convention, definition, body)


def _draw(definition: Definition, body: Json, fault: str, rng: Random) -> dict[str, Json]:
    if fault == "timeout":
        return {"after_s": rng.choice((5, 10, 30, 60))}
    if fault == "rate_limit":
        return {"retry_after_s": rng.choice((1, 5, 10, 30, 60, 120))}
    if fault == "server_error":
        return {"status": rng.choice((500, 503))}
    if fault == "truncated":
        return {"share": rng.randint(20, 90) / 100}
    if fault == "missing_field":
        leaves = list(_leaves(body, ""))
        return {"pointer": rng.choice(leaves) if leaves else None}
    if fault == "partial":
        path = _list_path(definition, body)
        n_items = 0 if path is None else len(_at(body, path))
        return {"kept": rng.randrange(n_items) if n_items else None}
    return {}


def _outage(convention: Convention, fault: str, detail: dict[str, Json]) -> ToolError:
    """The same words under every convention: they are not documented, so they must be learnt once."""
    code, status, message = {
        "timeout": ("timeout", 504, f"The request timed out after {detail.get('after_s')} seconds."),
        "rate_limit": ("rate_limited", 429, f"Too many requests. Retry after {detail.get('retry_after_s')} seconds."),
        "server_error": ("internal_error", 500, "The server met an unexpected error."),
    }[fault]
    if detail.get("status") == 503:
        code, status, message = "service_unavailable", 503, "The service is temporarily unavailable."
    return ToolError(style_code(convention, code), f"directive.{fault}", status, message)


def _leaves(value: Json, pointer: str) -> Iterator[str]:
    """Pointers to the members of objects that hold no object or list."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in members:
        here = f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
        if isinstance(item, dict | list):
            yield from _leaves(item, here)
        elif isinstance(value, dict):
            yield here


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _without(value: Json, path: list[str]) -> Json:
    """The value without the member at `path`; unchanged where there is none."""
    head, *rest = path
    if isinstance(value, list):
        return [_without(item, rest) if rest and str(at) == head else item for at, item in enumerate(value)]
    if not isinstance(value, dict) or head not in value:
        return value
    if rest:
        return {**value, head: _without(value[head], rest)}
    return {key: item for key, item in value.items() if key != head}


def _list_path(definition: Definition, body: Json) -> list[str] | None:
    """Where the records of a body stand, by the definition, or None."""
    if definition.records_result is None:
        return None
    path = [part for part in definition.records_result.split(".") if part]
    return path if isinstance(_at(body, path), list) else None


def _at(value: Json, path: list[str]) -> Json:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _shorten(value: Json, path: list[str], kept: int) -> Json:
    if not path:
        return value[:kept]
    return {**value, path[0]: _shorten(value[path[0]], path[1:], kept)}

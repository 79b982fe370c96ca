"""`execute`: a call against a state gives a body or a refusal, the changes, and a trace of all that was read.

Pure: nothing outside its arguments is read, nothing is changed. Arguments are canonical and schema-valid; definitions
and conventions are `presenting`'s. Faults are tried in the order of `records.FAULT_ORDER`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from carg.world.functions import Uncomputable
from carg.world.model import Operation
from carg.world.operations import perform
from carg.world.outcome import Actor, Outcome, Refusal, Refused
from carg.world.run import Run
from carg.world.setting import Setting
from carg.world.state import State


def execute(
    setting: Setting,
    state: State,
    operation: Operation,
    arguments: Mapping[str, Any],
    actor: Actor,
    barred: Refusal | None = None,
) -> Outcome:
    """The outcome of one call: body or refusal, changes, trace. Arguments are canonical and schema-valid.

    `barred` is the refusal of a caller who is not who he should be; it stands before the rules of roles.
    """
    run = Run(setting, state, operation, arguments, actor)
    try:
        run.compute_lets(state=False)
        run.check(operation.rules, "rule.cross_field")
        if barred is not None:
            raise Refused(barred)
        run.check_role()
        missing = run.find_missing() if operation.kind != "batch_get" else None
        if missing is None and not operation.each:
            run.compute_lets(state=True)
        run.check_forbidden(missing)
        if missing is not None:
            raise Refused(missing)
        body = perform(run)
    except Refused as refused:
        run.trace.label = run.frame.reads
        run.trace.writes.clear()
        run.trace.created.clear()
        run.trace.deleted.clear()
        return Outcome(refused.refusal, None, [], run.trace, run.frame)
    except Uncomputable as fault:
        # What failed was read somewhere; after the changes began that is in the frame after.
        run.trace.label = run.frame.reads + list(run.settle(0))
        run.trace.writes.clear()
        run.trace.created.clear()
        run.trace.deleted.clear()
        detail = {"reason": str(fault)}
        refusal = Refusal("not_computable", "rule.cross_field", 422, None, detail=detail)
        return Outcome(refusal, None, [], run.trace, run.frame)
    run.trace.label = run.frame.reads
    return Outcome(None, body, run.overlay.changes(), run.trace, run.after)

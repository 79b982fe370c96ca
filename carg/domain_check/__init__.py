"""`carg domains check`: a domain file is loaded, grown, called and computed; what comes back is what its author mends.

`check_domain` runs all of it. `findings` collects faults, warnings and tables; `static` reads the file's own graph;
`trials` draws services and grows their states; `calls` and `rules` execute; `formulas` and `dimensions` compute.
"""

from __future__ import annotations

from pathlib import Path

from carg.domain_check.calls import check_calls
from carg.domain_check.findings import DomainReport, Findings
from carg.domain_check.formulas import check_formulas
from carg.domain_check.rules import check_rules
from carg.domain_check.static import check_counts, check_fields, check_lives, check_operations
from carg.domain_check.trials import check_states, draw_trials
from carg.domains import find_seed, seed_faults
from carg.errors import DomainError
from carg.world.load import load_world

__all__ = ["DomainReport", "check_domain"]


def check_domain(path: Path, *, services: int = 40, executions: int = 1000) -> DomainReport:
    """What is wrong with a domain file: loaded, grown in `services` drawn services, called `executions` times.

    A file that does not load gives its faults and nothing else.
    """
    found = Findings(path.name)
    try:
        found.faults.update(dict.fromkeys(seed_faults(path)))
        if not found.faults and not find_seed(path).has_world:
            return found.report(path)
        world = load_world(path)
    except DomainError as fault:
        found.faults.update(dict.fromkeys(fault.message.split("\n")))
        return found.report(path)
    check_counts(found, world)
    check_operations(found, world)
    check_lives(found, world)
    check_fields(found, world)
    check_formulas(found, world)
    trials = draw_trials(world, services)
    check_states(found, world, trials)
    reached = check_calls(found, world, trials, executions)
    check_rules(found, world, trials, reached)
    return found.report(path)

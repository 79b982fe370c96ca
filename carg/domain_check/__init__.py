"""`carg domains check`: a domain file is loaded, grown, called and computed; what comes back is what its author mends.

`check_domain` runs all of it. `findings` collects faults, warnings and tables; `static` reads the file's own graph;
`trials` draws services and grows their states; `calls` and `rules` execute; `formulas` and `dimensions` compute.
"""

from carg.domain_check.check import check_domain, check_domains
from carg.domain_check.findings import DomainReport

__all__ = ["DomainReport", "check_domain", "check_domains"]

"""`python -m carg` is `carg`."""

from carg.cli import main

main()

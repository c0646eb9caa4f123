"""`python -m dnalm` is `dnalm`."""

from dnalm.cli import main

main()

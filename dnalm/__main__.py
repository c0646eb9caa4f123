"""`python -m dnalm` is `dnalm`: no file of the working directory is a module, unless dnalm lies there."""

import sys
from pathlib import Path

if not sys.flags.safe_path and Path(sys.path[0]).resolve() != Path(__file__).resolve().parents[1]:
    del sys.path[0]

from dnalm.cli import main

main()

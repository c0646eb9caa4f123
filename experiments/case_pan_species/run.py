"""Read the genome of a species that nothing was trained on: the simulated clade, and yeasts.

    python experiments/case_pan_species/run.py clade work/pan
    python experiments/case_pan_species/run.py yeasts work/yeasts ../shared/data

What each does says its file, clade.py and yeasts.py. Run again, it continues where it was. Written here:
<case>.csv, <case>.png, <case>_track.png.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import clade
import yeasts
from judging import HERE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=("clade", "yeasts"))
    parser.add_argument("work", type=Path)
    parser.add_argument("data", type=Path, nargs="?", default=Path("../shared/data"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    rows = clade.run(given.work) if given.case == "clade" else yeasts.run(given.work, given.data)
    with (HERE / f"{given.case}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()

"""The same five models and their untrained twins, judged at the same bases with the same stretches hidden.

    python experiments/comparison/common_bases.py runs/comparison

Pretrains what `compare.py` has not (same budget, windows and words), then `dnalm compare` with stretches of
one base and of six. Writes common_1.md, common_6.md, their pictures and differences here.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from compare import CONTIGS, DATA, HERE, MODELS, dnalm, pretrained

from dnalm.paths import UNTRAINED

STRETCHES = (1, 6)
COPIED = {"comparison.md": "md", "comparison.png": "png", "differences.csv": "differences.csv"}


def main() -> None:
    """Train what is missing, and judge all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--size", default="tiny", choices=("tiny", "small", "full"))
    parser.add_argument("--bases", type=float, default=6e6, help="bases that each model reads")
    parser.add_argument("--window-bp", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32, help="windows of an optimizer step")
    given, words = parser.parse_known_args()
    given.work.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        pretrained(name, given, words)
    folders = [given.work / experiment for experiment, _ in MODELS.values()]
    runs = [f"{folder}{ending}" for folder in folders for ending in ("", UNTRAINED)]
    genomes = ", ".join(f"{contig}: {DATA}/genomes/{file}" for contig, file in CONTIGS.items())
    for stretch_bp in STRETCHES:
        folder = given.work / f"common_{stretch_bp}"
        asked = [f"models=[{','.join(runs)}]", "data=multispecies", f"data.genomes={{{genomes}}}"]
        asked += [f"stretch_bp={stretch_bp}", "places=2000", "draws=5"]
        dnalm("compare", *asked, f"run.dir={folder}", "run.replace=true")
        for name, ending in COPIED.items():
            shutil.copyfile(folder / name, HERE / f"common_{stretch_bp}.{ending}")


if __name__ == "__main__":
    main()

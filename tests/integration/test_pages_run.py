"""Every command of the README and the pages runs to its end, on small files of the names that the pages give.

Nothing of a line is left out: it is run as it stands, with words behind it that make it short, in a folder
where each file that a page names is a small one, and each run that a page takes up has been made. What names
a place that small files lack is rewritten (`REWRITTEN`). What needs a network, a hub, SLURM or data of others
is listed with the test that runs it against a stand-in (`ELSEWHERE`).
"""

from __future__ import annotations

import gzip
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pybigtools
import pysam
import pytest

from dnalm.cli import COMMANDS
from tests.contracts.test_readme import command_lines
from tests.genome.write_twobit import write_twobit

CONTIGS = {"chr1": 150_000, "chr2": 60_000, "chr16": 20_000, "chr21": 20_000, "chr22": 40_000}
GENOMES = ("hg38.2bit", "hg19.2bit", "sacCer3.fa.gz", "pombe.fa.gz", "Sarb.fa.gz", "SK1.fa.gz")
SHORT_TASK = ("budget=tiny", "steps=2", "schedule.warmup_steps=1", "trainer.validate_every=2")
MADE = ("runs/*", "benchmarks/*", "sweeps/*", "exported")
ELSEWHERE = {  # words of a line that cannot run here, and where it runs
    "dnalm fetch": "tests/commands/test_fetch.py, from a local server",
    "dnalm push": "tests/commands/test_push.py",
    "zhihan1996/": "tests/models/test_foreign_files.py, from a folder",
    "https://example.org": "tests/genome/test_download.py, from a local server",
    "launcher=slurm": "tests/sweeps, with a stand-in for sbatch",
    "benchmark=gue": "tests/evaluation/benchmark, on the published files",
    "benchmark=variants": "tests/commands/test_benchmark_variants.py, on a small set",
    "resume=runs/long/": "tests/integration/test_continuing.py, from a checkpoint that is there",
}
REWRITTEN = {
    "chr22:30000000-40000000": "chr22:3000-30000",
    "size=small": "size=tiny",
    "hparams_search.num_trials=30": "hparams_search.num_trials=2",
    "pretrain.steps=250 finetune.steps=300": "pretrain.steps=2 finetune.steps=2",
    "vocab_size=4096": "vocab_size=96",
    "run.dir=runs/bpe": "run.dir=runs/bpe_again",
    "places=3000 draws=5": "places=40 draws=2",
    "labels=[10,100,1000,all]": "labels=[10,all] seeds=1",
    "schedule.warmup_steps=10000 steps=200000": "schedule.warmup_steps=1 steps=8",
    "tokenizer.merges=600": "tokenizer.merges=20",
    "'merges=[100,300,600]'": "'merges=[10,30]'",
}


def letters(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list("ACGT"), length, p=[0.3, 0.2, 0.2, 0.3]))


pytestmark = pytest.mark.usefixtures("forked_programs")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file and run that the pages name."""
    folder = tmp_path_factory.mktemp("pages")
    for number, name in enumerate(GENOMES):
        contigs = {
            contig: letters(length, 10 * number + place)
            for place, (contig, length) in enumerate(CONTIGS.items())
        }
        text = "".join(f">{contig}\n{bases}\n" for contig, bases in contigs.items())
        if name.endswith(".2bit"):
            write_twobit(folder / name, contigs)
        else:
            (folder / name).write_bytes(gzip.compress(text.encode()))
        if name == "hg38.2bit":
            variants(folder / "variants.vcf.gz", contigs["chr22"])
    annotations(folder)
    tables(folder)
    for words in (
        "pretrain experiment=dnabert size=tiny data=demo run.dir=runs/demo",
        "pretrain experiment=nt_v2_50m size=tiny data=demo run.dir=runs/other",
        "pretrain experiment=dnabert size=tiny data=fasta data.fasta=sacCer3.fa.gz run.dir=runs/mine",
        "finetune model=runs/mine task.train=train.csv run.dir=runs/task seed=1",
        "finetune model=runs/mine task.train=train.csv run.dir=runs/seed2 seed=2",
        "tokenizer train bpe=plain vocab_size=96 data=fasta data.fasta=sacCer3.fa.gz run.name=bpe",
    ):
        done = run(folder, f"dnalm {words}")
        assert done.returncode == 0, done.stderr
    return folder


def variants(path: Path, chr22: str) -> None:
    head = "##fileformat=VCFv4.2\n##contig=<ID=chr22>\n"
    head += '##INFO=<ID=LABEL,Number=1,Type=Integer,Description="1 where it acts">\n'
    head += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    rows = [
        f"chr22\t{place + 1}\tv{place}\t{chr22[place]}\t{'ACGT'['CGTA'.index(chr22[place])]}\t.\t.\t"
        f"LABEL={place // 100 % 2}\n"
        for place in range(1000, 3000, 100)
    ]
    with pysam.BGZFile(str(path), "w") as file:
        file.write((head + "".join(rows)).encode())


def annotations(folder: Path) -> None:
    """Intervals, genes, a signal and a motif on the contigs that all genomes have."""
    places = [(contig, start) for contig in CONTIGS for start in range(300, CONTIGS[contig] - 800, 2500)]
    for name in ("peaks.bed", "brain.bed", "liver.bed"):
        shift = 150 * (name == "brain.bed")
        lines = [
            f"{contig}\t{start + shift}\t{start + shift + 200}\t{'ab'[number % 2]}\n"
            for number, (contig, start) in enumerate(places)
        ]
        (folder / name).write_text("".join(lines))
    (folder / "few.bed").write_text("chr1\t300\t330\ta\nchr2\t300\t330\tb\nchr21\t300\t330\ta\n")
    parts = []
    for number, (contig, start) in enumerate(places):
        about = f"{contig}\tmade\t{{}}\t{start}\t{start + 500}\t.\t+\t.\t"
        parts.append(about.format("gene") + f"ID=g{number}\n")
        parts.append(about.format("mRNA") + f"ID=t{number};Parent=g{number}\n")
        parts.append(about.format("exon") + f"Parent=t{number}\n")
        parts.append(about.format("CDS").replace("\t+\t.\t", "\t+\t0\t") + f"Parent=t{number}\n")
    genes = "##gff-version 3\n" + "".join(parts)
    (folder / "genes.gff3").write_text(genes)
    for name in ("sacCer3", "SK1", "Sarb"):
        (folder / f"{name}.gff3.gz").write_bytes(gzip.compress(genes.encode()))
    signal = ((contig, start, start + 100, start % 7 / 7) for contig, start in places)
    pybigtools.open(str(folder / "phylop.bw"), "w").write(CONTIGS, signal)
    (folder / "jaspar.meme").write_text(
        "MEME version 4\n\nALPHABET= ACGT\n\nMOTIF MA0001.1 TATA\n"
        "letter-probability matrix: alength= 4 w= 4 nsites= 20 E= 0\n"
        " 0.05 0.05 0.05 0.85\n 0.85 0.05 0.05 0.05\n 0.05 0.05 0.05 0.85\n 0.85 0.05 0.05 0.05\n"
    )


def tables(folder: Path) -> None:
    """Sequences with labels, sequences without, a list of species, a config of one's own."""
    for number, name in enumerate(("train", "dev", "test")):
        rows = [
            f"{letters(40, 1000 * number + row)},{row % 2},{row / 7:.2f}\n"
            for row in range(40 if number else 80)
        ]
        (folder / f"{name}.csv").write_text("sequence,label,activity\n" + "".join(rows))
    (folder / "sequences.fa").write_text("".join(f">s{n}\n{letters(24, n)}\n" for n in range(4)))
    columns = ("name", "path", "url", "checksum", "weight", "split", "taxon")
    species = [(name, f"{name}.fa.gz", *"-----") for name in ("sacCer3", "pombe", "Sarb")]
    (folder / "my_species.tsv").write_text("".join("\t".join(row) + "\n" for row in (columns, *species)))
    own = folder / "my_configs/experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\ndefaults:\n  - dnabert\n")


def run(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line with the words that make it short."""
    for shown, meant in REWRITTEN.items():
        line = line.replace(shown, meant)
    if line.startswith("dnalm predict"):  # applies what the page before has fine-tuned
        line = line.replace("runs/mine", "runs/task")
    if line.startswith("dnalm interpret"):
        line = line.replace("peaks.bed", "few.bed")
    _, *words = shlex.split(line, comments=True)
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "dnalm", *words, *shortened(words)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def shortened(words: list[str]) -> list[str]:
    """What is added to a command."""
    called = [name for name in COMMANDS if words[: len(name.split())] == name.split()]
    command = max(called, key=len, default="")  # `doctor finetune` before `doctor`
    given = {word.partition("=")[0] for word in words}
    if command in ("pretrain", "doctor"):
        more = ["debug=fast", *([] if "size" in given else ["size=tiny"])]
        trainer = next((word for word in words if word.startswith("trainer=")), "trainer=cpu")
        if trainer != "trainer=cpu" and "trainer.accelerator" not in given:
            more += ["trainer.accelerator=cpu"]
            more += [] if trainer == "trainer=gpu" else ["trainer.devices=2"]
        return more
    if command in ("finetune", "doctor finetune"):
        return [word for word in SHORT_TASK if word.partition("=")[0] not in given]
    if command == "benchmark":
        return [*([] if "finetune" in given else [f"finetune={json.dumps(SHORT_TASK)}"]), "tasks=[promoter]"]
    return []


def elsewhere(line: str) -> str | None:
    return next((where for part, where in ELSEWHERE.items() if part in line), None)


@pytest.mark.parametrize("line", [line for line in command_lines() if elsewhere(line) is None])
def test_a_command_of_the_pages_runs(line: str, world: Path) -> None:
    before = {path for name in MADE for path in world.glob(name)}
    done = run(world, line)
    for name in MADE:  # lines of a page are each other's alternatives
        for made in {*world.glob(name)} - before:
            shutil.rmtree(made)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


def test_what_runs_elsewhere_is_there() -> None:
    root = Path(__file__).resolve().parents[2]
    left_out = [line for line in command_lines() if elsewhere(line)]
    assert 0 < len(left_out) <= 20
    assert all((root / where.split(",")[0]).exists() for where in ELSEWHERE.values())

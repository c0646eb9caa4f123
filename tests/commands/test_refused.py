"""A command that is refused leaves the file system exactly as it was."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dnalm.cli import main
from tests.conftest import random_sequence
from tests.evaluation.embedding.models import save

GENOME = random_sequence(3000, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs that are fine, and of each kind one that is not."""
    folder = tmp_path_factory.mktemp("refused") / "work"
    folder.mkdir()
    save("kmer", folder / "model")
    shutil.copytree(folder / "model", folder / "broken")
    with (folder / "broken/model.safetensors").open("r+b") as file:
        file.truncate(100)
    records = [f">s{number}\n{random_sequence(60, number)}\n" for number in range(4)]
    (folder / "in.fa").write_text("".join(records))
    (folder / "bad.fa").write_text("".join([*records, ">bad\nAC!T\n"]))
    (folder / "genome.fa").write_text(f">chr1\n{GENOME}\n")
    (folder / "r.bed").write_text("chr1\t50\t58\tone\nchr1\t80\t86\ttwo\n")
    (folder / "bad.bed").write_text("chr1\t50\t58\tone\nchr1\t9000\t9006\ttwo\n")
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (folder / "v.vcf").write_text(f"{head}chr1\t101\t.\t{GENOME[100]}\tN\t.\t.\t.\n")
    (folder / "bad.vcf").write_text(f"{head}chr1\t9999\t.\tA\tC\t.\t.\t.\n")
    rows = [f"{random_sequence(60, number)},{number % 2}\n" for number in range(20)]
    (folder / "t.csv").write_text("sequence,label\n" + "".join(rows))
    (folder / "bad.csv").write_text("sequence,label\n" + "".join(rows) + "AC!T,1\n")
    return folder


EMBED = "embed model=./model input=in.fa out=new/deep/out.npy"
SCORE = (
    "score model=./model variants=v.vcf reference=genome.fa window_bp=20 out=new/out.vcf.gz cache=../cache"
)
INTERPRET = (
    "interpret what=motifs model=./model input=r.bed reference=genome.fa run.dir=new/runs/a window_bp=20 "
    "cache=../cache"
)
CLUSTER = "cluster model=./model input=t.csv label=label run.dir=new/runs/a"
EXPORT = "export model=./model run.dir=new/runs/a"
FINETUNE = "finetune model=./model task.train=t.csv task.val=t.csv task.test=t.csv run.dir=new/runs/a steps=2"
BASELINE = "baseline task.train=t.csv task.val=t.csv task.test=t.csv run.dir=new/runs/a"
PRETRAIN = (
    "pretrain experiment=dnabert size=tiny data=fasta data.fasta=genome.fa data.cache=../cache "
    "steps=2 schedule.warmup_steps=0 run.dir=new/runs/a"
)
TRAIN = "tokenizer train data=fasta data.fasta=genome.fa data.cache=../cache run.dir=new/runs/a"
INSPECT = "tokenizer inspect data=fasta data.fasta=genome.fa data.cache=../cache run.dir=new/runs/a"
PREPARE = "prepare data=fasta data.fasta=genome.fa data.cache=../cache run.dir=new/runs/a"
REFUSED = [
    (f"{EMBED} layer=99", 2),
    (f"{EMBED} input=bad.fa", 3),
    (f"{EMBED} input=bad.fa workers=2", 3),
    (f"{EMBED} model=./broken", 4),
    (f"{SCORE} score=[distance] layers=[99]", 2),
    (f"{SCORE} variants=bad.vcf", 3),
    (f"{SCORE} model=./broken", 4),
    (f"{INTERPRET} reference=null", 2),
    (f"{INTERPRET} input=bad.bed", 3),
    (f"{INTERPRET} model=./broken", 4),
    (f"{CLUSTER} layer=99", 2),
    (f"{CLUSTER} input=bad.csv", 3),
    (f"{CLUSTER} model=./broken", 4),
    (f"{EXPORT} run.dir=model", 2),
    (f"{EXPORT} model=./broken", 4),
    (f"{FINETUNE} sequences.max_tokens=9999", 2),
    (f"{FINETUNE} task.train=bad.csv", 3),
    (f"{FINETUNE} model=./broken", 4),
    (f"{BASELINE} baseline.k=99", 2),
    (f"{BASELINE} task.train=bad.csv", 3),
    (f"{PRETRAIN} model.kernel=varlen", 2),
    (f"{PRETRAIN} data.fasta=bad.fa", 3),
    (f"{PRETRAIN} resume=./model", 4),
    (f"{TRAIN} run.dir=model", 2),
    (f"{TRAIN} data.fasta=bad.fa", 3),
    (f"{INSPECT} data.fasta=bad.fa", 3),
    (f"{PREPARE} parts=2 part=3", 2),
    (f"{PREPARE} data.fasta=bad.fa", 3),
]


def last_of_each(words: list[str]) -> list[str]:
    """The words with those left out whose key comes again."""
    keys = [word.partition("=")[0] for word in words]
    return [word for place, word in enumerate(words) if keys[place] not in keys[place + 1 :]]


def tree(folder: Path) -> dict[str, bytes | None]:
    paths = [Path(root) / name for root, folders, files in os.walk(folder) for name in (*folders, *files)]
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


@pytest.mark.parametrize(("line", "code"), REFUSED)
def test_a_refusal_leaves_everything_as_it_was(
    line: str, code: int, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    before = tree(folder)
    with pytest.raises(SystemExit) as ended:
        main(last_of_each(line.split()))
    assert ended.value.code == code, capsys.readouterr().err
    assert tree(folder) == before

"""`dnalm score` end to end: files in and out, a kill in the middle, and what it says when it cannot."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pysam
import pytest
import torch
from scipy.special import logit

from dnalm.cli import main
from dnalm.genome.alphabet import from_text, reverse_complement
from dnalm.models import Encoder, MaskedLM, Packed, Pretrained, save_pretrained
from dnalm.tokenizers import KmerTokenizer
from dnalm.training.model_directory import load_finetuned
from tests.conftest import random_sequence

pytestmark = pytest.mark.usefixtures("forked_programs")

TEXT = random_sequence(3000)
HEAD = (
    "##fileformat=VCFv4.2\n"
    '##INFO=<ID=LABEL,Number=1,Type=Integer,Description="truth">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, a genome of one contig, and a VCF of 600 SNVs on it under another name."""
    torch.manual_seed(0)
    tokenizer = KmerTokenizer(k=3)
    sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 32, "max_positions": 64}
    ids = {"vocab_size": tokenizer.vocab_size, "padding_id": 0, "mask_id": tokenizer.special.mask}
    model = tmp_path / "model"
    model.mkdir()
    save_pretrained(MaskedLM(Encoder(**sizes, **ids)), model)
    tokenizer.save(model)
    (tmp_path / "genome.fa").write_text(f">chr20\n{TEXT}\n")
    rows = [
        f"20\t{place + 1}\tv{place}\t{TEXT[place]}\t{other(TEXT[place])}\t.\tPASS\tLABEL={place % 2}\n"
        for place in range(100, 2800, 9)
    ]
    rows[3] = rows[3].replace("\t.\tPASS", ",<DEL>\t.\tPASS")
    (tmp_path / "variants.vcf").write_text(HEAD + "".join(rows * 2))
    return tmp_path


def other(base: str) -> str:
    return "ACGT"[("ACGT".index(base) + 1) % 4]


def words(
    folder: Path, out: str, *more: str, variants: str = "variants.vcf", model: str = "model"
) -> list[str]:
    named = {"model": model, "variants": variants, "reference": "genome.fa", "cache": "cache", "out": out}
    return ["score", *(f"{key}={folder / name}" for key, name in named.items()), "window_bp=40", *more]


def run(folder: Path, out: str, *more: str, variants: str = "variants.vcf") -> int:
    with pytest.raises(SystemExit) as ended:
        main(words(folder, out, *more, variants=variants))
    return int(ended.value.code or 0)


def test_a_vcf_keeps_all_it_had_and_gains_scores(folder: Path) -> None:
    text = (folder / "variants.vcf").read_text().splitlines(keepends=True)
    (folder / "variants.vcf").write_text("".join(text[:303]))  # sorted
    assert run(folder, "out.vcf.gz") == 0
    scored = gzip.decompress((folder / "out.vcf.gz").read_bytes()).decode().splitlines()
    assert scored[:2] == HEAD.splitlines()[:2]
    assert scored[2].startswith("##INFO=<ID=DNALM_LLR,Number=A,Type=Float")
    old = [line.rstrip() for line in text[3:303]]
    assert [line.partition(";DNALM_")[0] for line in scored[5:]] == old
    with pysam.VariantFile(str(folder / "out.vcf.gz")) as file:
        records = list(file.fetch("20", 100, 140))
    assert [record.pos for record in records] == [101, 110, 119, 128, 137]
    assert records[3].info["DNALM_SKIP"] == (".", "symbolic")
    assert records[3].info["DNALM_LLR"][1] is None
    summary = json.loads((folder / "out.vcf.gz.summary.json").read_text())
    assert (summary["records"], summary["scored"], summary["skipped"]) == (300, 300, {"symbolic": 1})
    assert not (folder / "out.vcf.gz.parts").exists()


def test_tables_agree_whatever_the_number_of_processes(folder: Path) -> None:
    assert run(folder, "one.tsv", "score=[llr,distance]") == 0
    assert run(folder, "two.parquet", "score=[llr,distance]", "workers=2") == 0
    lines = [line.split("\t") for line in (folder / "one.tsv").read_text().splitlines()]
    table = pq.read_table(folder / "two.parquet")
    assert table.column_names == lines[0]
    assert len(lines) == 1 + 602 == 1 + table.num_rows
    for texts, row in zip(lines[1:], table.to_pylist(), strict=True):
        assert (texts[0], int(texts[1])) == (row["CHROM"], row["POS"])
        for name in ("llr", "cosine_variant_1"):
            text = texts[lines[0].index(name)]
            assert row[name] is None if text == "." else abs(row[name] - float(text)) <= 1e-6


def test_precision_is_chosen(folder: Path) -> None:
    scores = []
    for name in ("float32", "bfloat16"):
        assert run(folder, f"{name}.tsv", f"precision={name}") == 0
        rows = [line.split("\t") for line in (folder / f"{name}.tsv").read_text().splitlines()]
        column = rows[0].index("llr")
        scores.append([float(row[column]) for row in rows[1:] if row[column] not in (".", "")])
    assert scores[0] != scores[1]
    np.testing.assert_allclose(scores[0], scores[1], atol=0.05)


def test_a_killed_run_continues_and_ends_in_the_same_bytes(folder: Path) -> None:
    assert run(folder, "whole.vcf.gz") == 0
    command = [sys.executable, "-m", "dnalm", *words(folder, "killed.vcf.gz", "workers=2")]
    running = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    parts_folder = folder / "killed.vcf.gz.parts"
    while not list(parts_folder.glob("000000.*.json")) and running.poll() is None:
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert running.returncode == -signal.SIGKILL
    assert list(parts_folder.glob("000000.*.json"))
    assert not (folder / "killed.vcf.gz").exists()
    assert run(folder, "killed.vcf.gz", "workers=2") == 0
    assert not parts_folder.exists()
    assert (folder / "killed.vcf.gz").read_bytes() == (folder / "whole.vcf.gz").read_bytes()


def test_labels_are_ranked_over_all_and_by_group(folder: Path) -> None:
    rows = [f"20\t{place + 1}\t{TEXT[place]}\t{other(TEXT[place])}" for place in range(100, 1000, 9)]
    table = [f"{row}\t{index % 2}\t{'ab'[index < 30]}" for index, row in enumerate(rows)]
    (folder / "t.tsv").write_text("chrom\tpos\tref\talt\ttruth\tkind\n" + "\n".join(table) + "\n")
    assert run(folder, "out.tsv", "labels=truth", "group=kind", variants="t.tsv") == 0
    figures = json.loads((folder / "out.tsv.summary.json").read_text())["evaluation"]
    *parts, mean = figures
    assert [(row["group"], row["alleles"], row["ones"]) for row in parts] == [
        ("all", 100, 50),
        ("a", 70, 35),
        ("b", 30, 15),
    ]
    assert all(row["auroc_low"] <= row["auroc"] <= row["auroc_high"] for row in figures)
    assert (mean["group"], mean["groups"]) == ("mean over groups", 2)
    assert mean["auroc"] == pytest.approx((parts[1]["auroc"] + parts[2]["auroc"]) / 2, abs=1e-4)
    half = 12.7062 * abs(parts[1]["auroc"] - parts[2]["auroc"]) / 2  # Student's t of one degree of freedom
    slope = 1 / (mean["auroc"] * (1 - mean["auroc"]))
    assert logit(mean["auroc_high"]) - logit(mean["auroc"]) == pytest.approx(half * slope, abs=5e-3)
    beside = [f"{row}\t{index / 7}" for index, row in enumerate(rows)]
    (folder / "l.tsv").write_text("chrom\tpos\tref\talt\tlabel\n" + "\n".join(beside) + "\n")
    assert run(folder, "out2.tsv", f"labels={folder}/l.tsv") == 0
    found = json.loads((folder / "out2.tsv.summary.json").read_text())["evaluation"][0]
    assert (found["alleles"], set(found) >= {"spearman", "spearman_low", "spearman_of_sizes"}) == (200, True)


@pytest.mark.parametrize(
    ("more", "out", "code", "sentence"),
    [
        ([], "out.txt", 2, "CFG-52 out: {folder}/out.txt: a name with no known ending"),
        (["layers=[1]"], "o.tsv", 2, "CFG-50 layers: layers=[1] without score=distance"),
        (["score=[distance]", "layers=[9]"], "o.tsv", 2, "CFG-50 layers: layer 9 of a model of 1"),
        (["score=[llr,llr]"], "o.tsv", 2, "CFG-05 score: llr: given twice"),
        (["labels=nothing"], "o.tsv", 2, "CFG-55 labels: nothing is no column and no INFO field"),
        (["labels=LABEL", "group=no"], "o.tsv", 2, "CFG-55 group: no is no column and no INFO field"),
        (["labels=ID"], "o.tsv", 3, "VCF-26 {folder}/variants.vcf:4: label `v100` in ID"),
    ],
)
def test_what_makes_no_sense_is_said(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    out: str,
    code: int,
    sentence: str,
) -> None:
    assert run(folder, out, *more) == code
    assert sentence.format(folder=folder) in capsys.readouterr().err


@pytest.mark.parametrize("key", ["labels", "group"])
def test_an_info_field_of_the_wrong_count_is_not_ranked_by(
    key: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is scored before that is said; where the field is only copied, it is noted."""
    text = (folder / "variants.vcf").read_text().replace("Number=1", "Number=A")
    (folder / "variants.vcf").write_text(text.replace("LABEL=1", "LABEL=1,0"))
    first = 1 + next(place for place, line in enumerate(text.splitlines()) if line.endswith("LABEL=1"))
    words = {"labels": "LABEL", key: "LABEL", **({"labels": "ID"} if key == "group" else {})}
    assert run(folder, "o.tsv", *(f"{name}={value}" for name, value in words.items())) == 3
    said = capsys.readouterr().err
    assert f"VCF-17 {folder}/variants.vcf:{first}: INFO LABEL has 2 values for 1 ALTs, the first of" in said
    assert not (folder / "o.tsv").exists()


def test_an_output_that_cannot_be_is_refused_before_the_genome_is_read(folder: Path) -> None:
    cache = folder / "untouched"
    assert run(folder, "out.txt", f"cache={cache}") == 2
    assert not cache.exists()


def test_a_table_becomes_no_vcf(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "t.tsv").write_text(f"chrom\tpos\tref\talt\n20\t101\t{TEXT[100]}\tN\n")
    assert run(folder, "o.vcf.gz", variants="t.tsv") == 2
    assert "CFG-52" in capsys.readouterr().err


def test_labels_beside_need_a_label(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "l.tsv").write_text(f"chrom\tpos\tref\talt\n20\t101\t{TEXT[100]}\tN\n")
    assert run(folder, "o.tsv", f"labels={folder}/l.tsv") == 3
    assert "the columns chrom, pos, ref, alt; a table with the columns" in capsys.readouterr().err


MEME = "MEME version 4\n\nALPHABET= ACGT\n\nMOTIF broken\nletter-probability matrix: alength= 4 w= 8\n"


def test_the_largest_scores_come_first_with_the_motif_that_is_lost(folder: Path) -> None:
    site = TEXT[995:1003]  # the variant at 1000 breaks it
    rows = [" ".join("0.97" if base == letter else "0.01" for letter in "ACGT") for base in site]
    (folder / "known.meme").write_text(MEME + "\n".join(rows) + "\n")
    assert run(folder, "out.tsv", "score=[llr,pll]", f"motifs={folder}/known.meme") == 0
    lines = [line.split("\t") for line in (folder / "out.tsv.ranked.tsv").read_text().splitlines()]
    table = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    assert list(table[0]) == ["rank", "chrom", "pos", "id", "ref", "alt", "llr", "pll"] + [
        f"{change}{column}" for change in ("lost", "gained") for column in ("", "_p_ref", "_p_alt")
    ]
    assert [int(row["rank"]) for row in table] == list(range(1, 601))  # all but the symbolic ones
    sizes = [abs(float(row["llr"])) for row in table]
    assert sizes == sorted(sizes, reverse=True)
    broken = {row["id"] for row in table if row["lost"] == "broken"}
    assert "v1000" in broken
    one = next(row for row in table if row["id"] == "v1000")
    assert float(one["lost_p_ref"]) == pytest.approx(4.0**-8, rel=0.05)
    assert one["gained"] == "."


def test_motifs_that_cannot_be_read_end_it_before_any_work(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "known.meme").write_text("no motifs\n")
    assert run(folder, "out.tsv", f"motifs={folder}/known.meme") == 3
    assert "MEME-01" in capsys.readouterr().err
    assert not (folder / "cache").exists()


def test_the_prediction_is_what_the_head_says_of_both_alleles(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Held to the fine-tuned network asked for each allele by itself, on both strands."""
    rows = [(random_sequence(40, seed), seed % 2) for seed in range(12)]
    (folder / "task.csv").write_text("sequence,label\n" + "".join(f"{text},{y}\n" for text, y in rows))
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "finetune", f"model={folder}/model", f"task.train={folder}/task.csv", "budget=tiny",
                f"task.val={folder}/task.csv", f"task.test={folder}/task.csv", f"run.dir={folder}/tuned",
                "optim.lr=0.01", "steps=3",
            ]
        )  # fmt: skip
    assert not ended.value.code
    given = words(folder, "out.tsv", "score=[prediction]", model="tuned/model")
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert not ended.value.code, capsys.readouterr().err
    lines = (folder / "out.tsv").read_text().splitlines()
    place = lines[0].split("\t").index("prediction")
    told = load_finetuned(Pretrained(source=str(folder / "tuned")))

    def says(text: str) -> float:
        codes = from_text(text)
        both = []
        for strand in (codes, reverse_complement(codes)):
            ids = torch.from_numpy(told.tokenizer.encode(strand))
            used = torch.ones(len(ids), dtype=torch.bool)
            used[[0, -1]] = False
            packed = Packed(torch.tensor([0, len(ids)], dtype=torch.int32), len(ids))
            with torch.no_grad():
                outputs = told.model(ids, packed, used, torch.zeros(1, dtype=torch.int64), 1)
            both.append(outputs)
        return float(torch.stack(both).mean(0).softmax(1)[0, 1])

    compared = [float(line.split("\t")[place]) for line in lines[1:6] if line.split("\t")[place] != "."]
    at = [100, 109, 118]
    for shown, start in zip(compared, at, strict=False):
        text = TEXT[start - 19 : start + 21]
        changed = text[:19] + other(TEXT[start]) + text[20:]
        assert shown == pytest.approx(says(changed) - says(text), abs=2e-6)


def test_a_model_without_a_head_predicts_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words(folder, "out.tsv", "score=[prediction]"))
    assert ended.value.code == 4
    assert "CKPT-04" in capsys.readouterr().err


def test_a_tokenizer_is_chosen_as_in_every_command(folder: Path) -> None:
    assert run(folder, "own.tsv") == 0
    assert run(folder, "given.tsv", "tokenizer=kmer3") == 0
    assert (folder / "own.tsv").read_bytes() == (folder / "given.tsv").read_bytes()

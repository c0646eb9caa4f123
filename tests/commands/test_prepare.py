"""Genomes prepared ahead, all at once or by several jobs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dnalm.cli import main
from dnalm.data import MultispeciesCorpus
from dnalm.data.token_store import find_tokens
from dnalm.tokenizers import BpeRecipe
from dnalm.training.pretraining import learned_tokenizer
from tests.conftest import random_sequence

pytestmark = pytest.mark.usefixtures("forked_programs")


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    lines = ["\t".join(["name", "path", "url", "checksum", "weight", "split", "taxon"])]
    for number in range(5):
        (tmp_path / f"g{number}.fa").write_text(f">chr1\n{random_sequence(1000 + number, number)}\n")
        lines.append("\t".join([f"g{number}", f"g{number}.fa", "-", "-", "-", "-", "-"]))
    (tmp_path / "m.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path / "m.tsv"


def prepare(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "data=multispecies", "data.manifest=m.tsv", "data.cache=cache", *words])
    return int(ended.value.code or 0)


def prepared(run: str) -> dict[str, int]:
    found = json.loads(Path(run, "summary.json").read_text())["genomes"]
    return {name: figures["bases"] for name, figures in found.items()}


def test_the_parts_are_disjoint_and_together_the_whole(manifest: Path) -> None:
    assert prepare("part=1", "parts=2", "run.dir=one") == 0
    assert prepared("one") == {"g0": 1000, "g2": 1002, "g4": 1004}
    assert len([path for path in (manifest.parent / "cache").iterdir() if path.is_dir()]) == 3
    assert prepare("part=2", "parts=2", "run.dir=two") == 0
    assert prepared("two") == {"g1": 1001, "g3": 1003}
    assert prepare("run.dir=all") == 0
    assert prepared("all") == {f"g{number}": 1000 + number for number in range(5)}


def test_a_part_may_be_prepared_again_and_there_is_no_part_beyond_the_last(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert prepare("part=6", "parts=9", "run.dir=none") == 0
        assert prepared("none") == {}
    assert prepare("part=3", "parts=2", "run.dir=x") == 2
    assert "part=3 of parts=2; a part between 1 and 2" in capsys.readouterr().err
    assert not manifest.with_name("x").exists()


def test_a_sweep_spreads_the_parts_over_jobs(manifest: Path) -> None:
    assert prepare("-m", "part=range(1,4)", "parts=3", "sweep.dir=spread") == 0
    runs = [path.parent for path in (manifest.parent / "spread").glob("*/summary.json")]
    assert len(runs) == 3
    assert {name for run in runs for name in prepared(str(run))} == {f"g{number}" for number in range(5)}


def test_tokens_are_prepared_beside_the_genomes_with_the_vocabulary_that_training_learns(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tokens=true", "tokenizer=bpe", "tokenizer.vocab_size=20"]
    assert prepare(*words, "run.dir=one") == 0
    assert "next: dnalm pretrain size=tiny with the same data and tokenizer" in capsys.readouterr().out
    folders = sorted(path.name for path in (manifest.parent / "cache/tokens").iterdir() if path.is_dir())
    genomes = json.loads(Path("one", "summary.json").read_text())["genomes"]
    assert [Path(figures["tokens"]).name for figures in genomes.values()] == folders
    corpus = MultispeciesCorpus(manifest=manifest, cache=Path("cache"))
    learned = learned_tokenizer(BpeRecipe(vocab_size=20), corpus)
    for store in corpus.stores().values():
        assert find_tokens(store, learned, Path("cache")) is not None


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["tokens=true"], "tokens=true with no tokenizer"),
        (["tokens=true", "tokenizer=kmer"], "tokens=true with KmerTokenizer"),
        (["tokenizer=bpe"], "tokens=false with BpeRecipe"),
    ],
)
def test_tokens_want_a_bpe(
    words: list[str], found: str, manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(*words, "run.dir=one") == 2
    assert f"CFG-18 tokens: {found}; tokens=true with a BPE" in capsys.readouterr().err
    assert not (manifest.parent / "cache").exists()

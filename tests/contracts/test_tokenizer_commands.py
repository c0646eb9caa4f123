"""`dnalm tokenizer train` and `dnalm tokenizer inspect`: what they leave, say and refuse."""

import csv
import json
from math import log2
from pathlib import Path

import pytest

from dnalm.cli import main
from tests.conftest import random_sequence

GENOME = ["data=fasta", "data.fasta=genome.fa", "data.cache=cache"]
TRAIN = ["tokenizer", "train", "bpe=plain", "bpe.vocab_size=30", *GENOME]
INSPECT = ["tokenizer", "inspect", *GENOME]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run the program, of several words for a key with the last: exit code, stdout, stderr."""
    last = {word[: word.find("=") + 1] or word: word for word in words}
    with pytest.raises(SystemExit) as ended:
        main(list(last.values()))
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.fixture(autouse=True)
def _genome_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("genome.fa").write_text(f">chr1\n{random_sequence(3000)}\n>chr2\nacgtNNACG\n")


def summary_of(out: str) -> dict[str, object]:
    """The summary that the last line names."""
    last = out.splitlines()[-1]
    assert last.startswith("summary: ")
    content: dict[str, object] = json.loads(Path(last.removeprefix("summary: ")).read_text())
    return content


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# Train


def test_training_leaves_a_tokenizer_its_config_and_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *TRAIN, "run.dir=out")
    assert code == 0
    assert names("out") == ["config.yaml", "summary.json", "tokenizer.json", "tokenizer_config.json"]
    summary = summary_of(out)
    assert (summary["vocab_size"], summary["merges"]) == (30, 30 - 5 - 4)
    assert summary["bases_read"] == {"genome.fa": 3000 + 4 + 3}
    assert summary["bases_given"] == {"genome.fa": 3000 + 9}


def test_training_says_what_was_learned_and_what_comes_next(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, *TRAIN, "run.dir=out")
    assert out.splitlines() == [
        "30 ids, 21 merges, learned from bases: 3,007 of genome.fa",
        "tokenizer: out",
        "next: dnalm tokenizer inspect tokenizer=./out",
        "summary: out/summary.json",
    ]


def test_a_second_training_gives_the_same_tokenizer(capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("first", "second"):
        run(capsys, *TRAIN, f"run.dir={folder}")
    assert Path("first/tokenizer.json").read_bytes() == Path("second/tokenizer.json").read_bytes()


def test_what_training_names_as_next_works(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, *TRAIN, "run.dir=out")
    code, out, _ = run(capsys, *INSPECT, "tokenizer=files", "tokenizer.path=out", "run.dir=looked")
    assert code == 0
    assert summary_of(out)["fingerprint"] == json.loads(Path("out/summary.json").read_text())["fingerprint"]


def test_a_vocabulary_size_may_be_given_without_its_kind(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, *TRAIN, "vocab_size=20", "run.dir=out")
    assert summary_of(out)["vocab_size"] == 20


def test_every_contig_is_learned_from(capsys: pytest.CaptureFixture[str]) -> None:
    # The split holds the last fitting contig out of pretraining, but not out of a vocabulary made by hand
    Path("genome.fa").write_text(f">chr1\n{'AC' * 100}\n>chr2\n{'GT' * 15}\n")
    _, out, _ = run(capsys, *TRAIN, "bpe.vocab_size=12", "run.dir=out")
    assert summary_of(out)["bases_read"] == {"genome.fa": 230}


def test_several_genomes_are_read_by_their_weights(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.fa").write_text(f">chr1\n{random_sequence(9000)}\n")
    Path("b.fa").write_text(f">chr1\n{random_sequence(9000, 1)}\n")
    words = ["data=multispecies", "data.genomes={a: a.fa, b: b.fa}", "data.weights={a: 3, b: 1}"]
    words += ["data.cache=cache", "bpe.piece_bp=100", "bpe.vocab_size=20", "run.dir=out"]
    _, out, _ = run(capsys, "tokenizer", "train", *words)
    assert summary_of(out)["bases_read"] == {"a": 9000, "b": 3000}


# Inspect


def test_inspecting_leaves_counts_a_picture_and_a_summary(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *INSPECT, "tokenizer=kmer", "tokenizer.k=2", "run.dir=out")
    assert code == 0
    assert names("out") == ["config.yaml", "summary.json", "tokens.csv", "tokens.png"]
    assert Path("out/tokens.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert out.splitlines()[-1] == "summary: out/summary.json"


def test_figures_of_a_tiny_genome(capsys: pytest.CaptureFixture[str]) -> None:
    Path("genome.fa").write_text(">chr1\nACGTACACGTACgN\n>chr2\nACGTACT\n")
    _, out, _ = run(capsys, *INSPECT, "tokenizer=nt_v2", "run.dir=out")
    # Tokens: ACGTAC ACGTAC G N, and ACGTAC T
    summary = summary_of(out)
    assert (summary["tokens"], summary["bases"], summary["vocab_size"]) == (6, 21, 4107)
    assert summary["mean_length_bp"] == pytest.approx(20 / 5)  # N aside
    assert summary["tokens_per_kb"] == pytest.approx(1000 * 5 / 20)
    assert summary["tokens_by_length_bp"] == {"1": 2, "6": 3}
    assert summary["unknown_share"] == pytest.approx(1 / 6)
    assert (summary["ids_that_spell_bases"], summary["unused_ids"]) == (4100, 4100 - 3)
    # shares 3/5, 1/5, 1/5: 1.371 bits of log2(4100) = 12.001
    assert summary["entropy_bits"] == pytest.approx(3 / 5 * log2(5 / 3) + 2 / 5 * log2(5))
    assert "250.0 tokens a kb, 4.00 bases a token" in out
    assert "unknown: 16.6667 % of the tokens" in out
    assert (
        "balance: 0.114 of the entropy of equally frequent ids (1.37 bits); 4,097 of 4,100 ids never" in out
    )
    assert "most frequent: ACGTAC 60.00 %, T 20.00 %, G 20.00 %" in out


def test_counts_of_every_id_stand_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    Path("genome.fa").write_text(">chr1\nAACcN\n")
    run(capsys, *INSPECT, "tokenizer=char", "run.dir=out")
    with Path("out/tokens.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["id", "token", "count"],
        ["0", "[PAD]", "0"],
        ["1", "[UNK]", "1"],
        ["2", "[CLS]", "0"],
        ["3", "[SEP]", "0"],
        ["4", "[MASK]", "0"],
        ["5", "A", "2"],
        ["6", "T", "0"],
        ["7", "C", "2"],
        ["8", "G", "0"],
    ]


@pytest.mark.parametrize("choice", ["char", "kmer", "nt_v1", "nt_v2", "logo"])
def test_every_tokenizer_without_files_can_be_inspected(
    choice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, *INSPECT, f"tokenizer={choice}", "run.dir=out")
    assert code == 0
    assert summary_of(out)["tokens"] > 0  # type: ignore[operator]


def test_a_recipe_is_learned_on_the_training_part_and_kept(capsys: pytest.CaptureFixture[str]) -> None:
    # chr2 is held out: less than a fifth of the bases, but its GT would be the first merge
    Path("genome.fa").write_text(f">chr1\n{'ACNNNNNNNN' * 80}\n>chr2\n{'GT' * 90}\n")
    words = ["tokenizer=bpe", "tokenizer.vocab_size=10"]
    code, _, _ = run(capsys, *INSPECT, *words, "run.dir=out")
    assert code == 0
    (kept,) = Path("cache/tokenizers").glob("bpe-10-*")
    assert json.loads((kept / "tokenizer.json").read_text())["model"]["merges"] == [["A", "C"]]


# Refusals


@pytest.mark.parametrize(
    "words", [["tokenizer"], ["tokenizer", "trian"], ["tokenizer", "trian", "bpe=plain"]]
)
def test_half_of_a_command_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, errors = run(capsys, *words)
    assert code == 2
    assert errors.startswith("dnalm: CLI-01 tokenizer")
    assert "; tokenizer train or tokenizer select or tokenizer inspect. Fix: see dnalm --help." in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("words", [TRAIN, [*INSPECT, "tokenizer=char"]], ids=["train", "inspect"])
def test_a_taken_folder_is_refused_before_any_work(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine")
    code, _, errors = run(capsys, *words, "run.dir=out")
    assert code == 2
    assert errors.startswith("dnalm: CFG-23 run.dir: out is there already and holds something else, which ")
    assert names("out") == ["mine.txt"]
    assert not Path("cache").exists()


def test_a_taken_folder_is_moved_aside_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        code, _, _ = run(capsys, *TRAIN, "run.dir=out", "run.replace=true")
        assert code == 0
    assert (Path("out/tokenizer.json").is_file(), Path("out.old-1/tokenizer.json").is_file()) == (True, True)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([*TRAIN, "bpe.vocab_size=8"], 2, "CFG-18 bpe: vocab_size is 8; it must lie between 9 and 65536"),
        ([*TRAIN, "bpe.vocab_size=4000"], 3, "TOK-10 genome.fa: no two tokens occur together twice once"),
        ([*TRAIN, "bpe=kmer"], 2, "CFG-03 bpe: no option 'kmer'; one of dnabert2, grover, plain"),
        ([*INSPECT, "tokenizer=files"], 2, "CFG-07 tokenizer.path: no value"),
        ([*INSPECT, "tokenizer=files", "tokenizer.path=no"], 2, "CFG-20 tokenizer.path: no is not there"),
        (
            [*INSPECT, "tokenizer=files", "tokenizer.path=."],
            3,
            "TOK-01 .: neither tokenizer.json nor vocab.txt",
        ),
        ([*INSPECT, "tokenizer=kmer", "tokenizer.k=9"], 2, "CFG-18 tokenizer: k is 9; a k-mer vocabulary is"),
        ([*INSPECT, "tokenizer=logo", "tokenizer.k=7"], 2, "CFG-18 tokenizer: k is 7; LOGO's vocabulary is"),
        ([*INSPECT, "tokenizer=nt_v1", "tokenizer.version=3"], 2, "CFG-04 tokenizer.version: 3; "),
    ],
)
def test_an_error_is_one_line_and_leaves_no_run(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, _, errors = run(capsys, *words, "run.dir=out")
    assert errors.startswith(f"dnalm: {message}")
    assert (found, errors.count("\n")) == (code, 1)
    assert not Path("out").exists()


def test_help_lists_both_commands(capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = run(capsys, "--help")
    assert "tokenizer train    learn a BPE vocabulary on genomes" in text
    assert "tokenizer inspect  show how a tokenizer reads genomes" in text


def test_help_of_training_lists_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = run(capsys, "tokenizer", "train", "--help")
    assert text.startswith("dnalm tokenizer train: learn a BPE vocabulary on genomes\n")
    assert "  bpe          dnabert2, grover, plain*\n" in text

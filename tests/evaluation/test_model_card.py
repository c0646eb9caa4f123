"""A model card says what `dnalm.yaml` and `config.json` hold, and nothing that lay beside them."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from dnalm.errors import CheckpointError
from dnalm.evaluation.model_card import (
    FinetuningResults,
    GenomeSource,
    HeldOutBits,
    PretrainingResults,
    card_text,
    is_edited,
    leave_results,
    write_card,
)
from dnalm.small_files import read_provenance
from dnalm.training.model_directory import seal
from tests.evaluation.embedding.models import save

BITS = HeldOutBits(
    hidden_bases=12_345, model=1.9, order0=1.98, two_sided=1.93, over_two_sided=-0.03, over_two_sided_se=0.01
)
PRETRAINED = PretrainingResults(
    experiment="dnabert",
    parameters=5_000,
    genomes=[GenomeSource(name="yeast", num_bases=12_000_000, sha256="ab" * 32)],
    num_genomes=1,
    bits=BITS,
)
HEAD: dict[str, object] = {
    "task": "promoters",
    "kind": "binary",
    "classes": ["no", "yes"],
    "limit": 20,
    "length_bp": 60,
    "center": 0.0,
    "scale": 1.0,
    "shape": {"num_outputs": 2, "pooling": "mean", "dense": True, "dropout": 0.1},
}
FINETUNED = FinetuningResults(
    base="lab/dnabert-yeast",
    rows={"train": 100, "val": 20, "test": 40},
    files={"train": "train.csv", "val": "dev.csv", "test": "test.csv"},
    fingerprints={"train": "aa", "val": "bb", "test": "cc"},
    metric="mcc",
    test={"mcc": 0.61, "auroc": 0.88, "auprc": None},
    intervals={"mcc": (0.4, 0.8)},
    majority=0.55,
    best_step=30,
    seed=1,
    parameters=5_100,
    trained_parameters=100,
)
MADE: dict[str, object] = {
    "dnalm": "0.1.0",
    "versions": {"torch": "2.13.0"},
    "data_fingerprint": "57d9c54cf1ca46ff",
    "precision": "32-true",
    "steps": 3000,
    "window_tokens": 62,
    "config": {"batch": {"global_size": 32}, "run": {"dir": "/home/someone/secret/run"}},
}


def directory(folder: Path, **entries: object) -> Path:
    save("kmer", folder)
    seal(folder, {**MADE, **entries})
    return folder


def front_matter(text: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(text.split("---\n")[1])
    return found


def test_the_card_of_a_pretrained_model_has_its_figures_and_where_it_is_from(tmp_path: Path) -> None:
    folder = directory(tmp_path / "model")
    leave_results(folder, PRETRAINED)
    text = (folder / "README.md").read_text()
    assert front_matter(text) == {
        "license": "unknown",
        "library_name": "transformers",
        "pipeline_tag": "fill-mask",
        "tags": ["dna", "genomics", "biology", "dnalm", "masked-lm"],
    }
    for said in (
        "| all | 12,345 | 1.9000 | 1.9800 | 1.9300 |",
        "Model less two-sided: -0.0300 ± 0.0100 (standard error)",
        f"| yeast | 12,000,000 | `{'ab' * 32}` |",
        "| steps | `3,000` |",
        "| batch | `32 sequences` |",
        "| precision | `32-true` |",
        "| torch | `2.13.0` |",
        "at most 62 tokens",
        "It has seen yeast; on other organisms it is untested",
        "not for clinical use",
        "| parameters | 5,000 |",
        'AutoModelForMaskedLM.from_pretrained("path/to/this")',
        'dnalm.load("path/to/this")',
        "dnalm score model=path/to/this",
    ):
        assert said in text, said
    assert "someone" not in text
    assert "dnalm predict" not in text  # without a head


def test_the_card_of_a_finetuned_model_has_its_task_and_the_untrained_twin(tmp_path: Path) -> None:
    folder = directory(tmp_path / "model", head=HEAD)
    leave_results(folder, FINETUNED)
    text = (folder / "README.md").read_text()
    assert front_matter(text)["pipeline_tag"] == "text-classification"
    assert front_matter(text)["base_model"] == "lab/dnabert-yeast"
    for said in (
        "| mcc (declared) | 0.6100 | 0.4000 to 0.8000 |",
        "| auroc | 0.8800 | - |",
        "| auprc | - | - |",
        "accuracy 0.5500",
        "40 test rows",
        "`promoters` (binary): a class. Classes: `no`, `yes`",
        "untrained twin",
        "| test rows | `40 of test.csv, fingerprint cc` |",
        "| trained parameters | `100 of 5,100` |",
        "dnalm predict model=path/to/this",
    ):
        assert said in text, said
    assert "both strands" not in text
    both = directory(tmp_path / "both", head={**HEAD, "average_strands": True})
    leave_results(both, FINETUNED)
    assert "the classes of transformers read the given strand alone" in (both / "README.md").read_text()


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("scratch", "trained from scratch: nothing was pretrained"),
        ("demo:untrained", "It is a control: an untrained twin"),
        ("demo", "the untrained twin, `demo:untrained`, fine-tuned alike"),
    ],
)
def test_a_card_says_what_its_encoder_had_learned_before(tmp_path: Path, base: str, said: str) -> None:
    folder = directory(tmp_path / "model", head=HEAD)
    leave_results(folder, dataclasses.replace(FINETUNED, base=base))
    assert said in (folder / "README.md").read_text()
    assert ("figures do not show what pretraining gave" in (folder / "README.md").read_text()) == (
        base == "demo"
    )


def test_a_copied_directory_has_the_same_card_and_results_change_no_checksum(tmp_path: Path) -> None:
    folder = directory(tmp_path / "model")
    before = read_provenance(folder)
    leave_results(folder, PRETRAINED)
    after = read_provenance(folder)
    assert after["files"] == before["files"]
    assert list(after)[-3:] == ["results", "config", "files"]
    assert "README.md" not in after["files"]
    copied = shutil.copytree(folder, tmp_path / "elsewhere")
    assert card_text(copied) == (folder / "README.md").read_text()
    leave_results(folder, PRETRAINED)  # a run that ends a second time
    assert read_provenance(folder) == after


def test_an_edited_card_is_kept(tmp_path: Path) -> None:
    folder = directory(tmp_path / "model")
    assert write_card(folder) is None
    assert write_card(folder) is None  # our own is replaced
    card = folder / "README.md"
    assert not is_edited(card.read_text())
    mine = card.read_text().replace("license: unknown", "license: apache-2.0")
    card.write_text(mine)
    assert is_edited(mine)
    assert write_card(folder) == folder / "README.edited-1.md"
    assert (folder / "README.edited-1.md").read_text() == mine
    assert not is_edited(card.read_text())
    card.write_text("mine alone")
    assert write_card(folder) == folder / "README.edited-2.md"


CONFIGS: dict[str, tuple[Mapping[str, object], str]] = {
    "ours": ({"model_type": "dnalm: import dnalm.hf"}, "import dnalm.hf"),
    "standalone": (
        {"model_type": "dnalm", "auto_map": {"AutoModel": "modeling_dnalm.DnalmModel"}},
        "trust_remote_code=True)  # runs the code in this directory",
    ),
    "published": (
        {"auto_map": {"AutoModel": "zhihan1996/DNABERT-2-117M--bert_layers.BertModel"}},
        "trust_remote_code=True)  # runs the publishers' code",
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_card_says_how_each_layout_is_opened(name: str, tmp_path: Path) -> None:
    import json

    folder = tmp_path / "model"
    save("kmer", folder)
    fields, said = CONFIGS[name]
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(fields)))
    text = card_text(folder)
    assert said in text
    assert "trust_remote_code" not in text or name != "ours"


def test_a_directory_of_someone_else_has_a_card_of_what_is_known(tmp_path: Path) -> None:
    folder = save("kmer", tmp_path / "model")
    text = card_text(folder)
    assert "| width | 8 |" in text
    assert "Bits per base" not in text
    assert "## Training" not in text


def test_nothing_in_a_strangers_file_becomes_markup(tmp_path: Path) -> None:
    bad = "x](http://evil) <script>`|\n\n# no"
    genome = GenomeSource(name=bad, num_bases=1, sha256=bad)
    folder = directory(tmp_path / "model", precision=bad, head={**HEAD, "task": bad, "classes": [bad, "b"]})
    leave_results(folder, dataclasses.replace(PRETRAINED, genomes=[genome], experiment=bad))
    text = (folder / "README.md").read_text()
    outside = re.sub(r"`[^`\n]*`", "", text)
    assert "<script>" not in outside
    assert not re.search(r"(?<!\\)\]\(http", outside)
    assert "\n# no" not in text


def test_impossible_results_are_refused_by_their_key(tmp_path: Path) -> None:
    folder = directory(tmp_path / "model", results={"command": "pretrain", "experiment": 3})
    with pytest.raises(CheckpointError, match=r"CKPT-05 .*dnalm.yaml: results\..* is "):
        card_text(folder)

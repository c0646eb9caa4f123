"""LOGO with further objectives end to end through the program, in miniature, on the simulated clade."""

import csv
import json
import math
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from dnalm.cli import main
from dnalm.models import load_pretrained
from dnalm.simulation.annotation import STATES
from dnalm.simulation.genes import MASTERS
from tests.integration.test_pretrain import MINIATURE, program

LABELS = [f"{tissue}/{number + 1}_{state}" for tissue in MASTERS for number, state in enumerate(STATES)]


def on_clade(cache: Path, experiment: str = "logo_multitask") -> list[str]:
    words = [f"experiment={experiment}", *MINIATURE, "model.embedding_size=16"]
    return [*words, "data.clade.genome_bp=200000", f"data.cache={cache}"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(cache: Path) -> Path:
    folder = cache / "runs/multitask"
    program("pretrain", *on_clade(cache), f"run.dir={folder}")
    return folder


@pytest.fixture(scope="module")
def plain(cache: Path) -> Path:
    folder = cache / "runs/plain"
    program("pretrain", *on_clade(cache, "logo"), f"run.dir={folder}")
    return folder


def test_the_summary_has_every_figure_beside_its_baseline(run: Path) -> None:
    summary = json.loads((run / "summary.json").read_text())
    figures = summary["objectives"]
    metrics = {
        "region": {"loss", "accuracy", "mcc"},
        "chromatin": {"loss", "auroc", "auprc"},
        "conservation": {"loss", "mse", "spearman"},
    }
    assert set(figures) == set(metrics)
    for name, wanted in metrics.items():
        assert set(figures[name]["model"]) == set(figures[name]["baseline"]) == wanted
        assert all(math.isfinite(value) for value in figures[name]["model"].values())
        assert figures[name]["targets"] > 100
    assert figures["region"]["baseline"]["mcc"] == figures["conservation"]["baseline"]["spearman"] == 0.0
    assert figures["chromatin"]["baseline"]["auroc"] == 0.5
    assert list(figures["chromatin"]["labels"]) == LABELS
    assert summary["val_bits_per_base"] > 0


def test_metrics_have_the_figures_of_both_validations(run: Path) -> None:
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("val_region_mcc", "val_chromatin_auroc", "val_conservation_spearman", "val_bits_per_base"):
        assert sum(bool(row[name]) for row in rows) == 2, name
    for name in ("train_loss", "train_region_loss", "train_chromatin_loss", "train_conservation_loss"):
        assert sum(bool(row[name]) for row in rows) == 4, name


def test_the_model_is_named_as_that_of_a_plain_run_and_heads_lie_beside(run: Path, plain: Path) -> None:
    ours, theirs = (load_file(folder / "model/model.safetensors") for folder in (run, plain))
    assert {name: weight.shape for name, weight in ours.items()} == {
        name: weight.shape for name, weight in theirs.items()
    }
    assert (run / "model/config.json").read_bytes() == (plain / "model/config.json").read_bytes()
    assert list(load_pretrained(run / "model").state_dict()) == list(
        load_pretrained(plain / "model").state_dict()
    )
    heads = load_file(run / "model/heads.safetensors")
    names = ("region", "chromatin", "conservation")
    parts = [f"{part}.{kind}" for part in ("dense", "norm", "output") for kind in ("weight", "bias")]
    assert set(heads) == {f"{name}.{part}" for name in names for part in parts}
    assert heads["chromatin.output.weight"].shape == (len(LABELS), 16)
    provenance = yaml.safe_load((run / "model/dnalm.yaml").read_text())
    assert provenance["heads"] == {
        "file": "heads.safetensors", "names": ["region", "chromatin", "conservation"]
    }  # fmt: skip
    assert not (plain / "model/heads.safetensors").exists()
    assert "objectives" not in json.loads((plain / "summary.json").read_text())


def test_a_plain_run_continues_from_it(run: Path, cache: Path, tmp_path: Path) -> None:
    words = [word for word in on_clade(cache, "logo") if not word.startswith(("model.", "size="))]
    words += ["windows.max_tokens=60", "schedule.warmup_steps=1"]
    program("pretrain", *words, f"model={run}", f"tokenizer={run}/model", f"run.dir={tmp_path}/on")
    assert (tmp_path / "on/summary.json").exists()


def test_balance_is_reported_before_and_comparison_after(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*on_clade(cache), "weighting=uncertainty", "batch.num_workers=1", f"run.dir={tmp_path}/run"]
    program("pretrain", *words)
    lines = capsys.readouterr().out.splitlines()
    before, after = lines[: len(lines) // 2], lines[len(lines) // 2 :]
    for name, part in (("region", "intergenic"), ("chromatin", "6_Quies"), ("conservation", "mean ")):
        assert any(line.startswith(f"track {name}: ") and part in line for line in before), name
    starts = {
        "region: accuracy 0.": "majority class 0.",
        "chromatin: auroc 0.": "label frequency 0.5000",
        "conservation: mse ": "training mean ",
    }
    for start, part in starts.items():
        assert any(line.startswith(start) and part in line for line in after), start
    assert lines[-2].startswith("next: dnalm finetune model=")
    assert (tmp_path / "run/tracks.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        weights = [float(row["weight_region"]) for row in csv.DictReader(file) if row["weight_region"]]
    assert weights[0] == 1.0
    assert weights[-1] != 1.0


def annotated(cache: Path, gff: str = "demo_a.gff3") -> list[str]:
    (clade,) = (path.parent for path in cache.glob("demo/*/clade.json"))
    states = ", ".join(f"{tissue}: {clade}/demo_a.{tissue}.states.bed" for tissue in MASTERS)
    return [
        "data=annotated",
        f"data.fasta={clade}/demo_a.fa",
        f"data.cache={cache}",
        f"data.tracks.region.gff={clade}/{gff}",
        f"data.tracks.chromatin.files={{{states}}}",
        f"data.tracks.conservation.file={clade}/conservation.bw",
    ]


def test_files_of_ones_own_give_the_same_run(run: Path, cache: Path, tmp_path: Path) -> None:
    words = [word for word in on_clade(cache) if not word.startswith("data.")]
    program("pretrain", *words, *annotated(cache), f"run.dir={tmp_path}/run")
    assert (tmp_path / "run/metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["data=annotated"], 2, "CFG-07 data.fasta: no value"),
        (["data=clade", "data.tracks={}"], 3, "DATA-05 data.tracks: no track 'region'; there is none"),
        (["objectives.region.weight=-1"], 2, "CFG-18 objectives.region: weight is -1"),
        (["objectives.region.track=chromatin"], 2, "OBJ-01 objectives, track 'chromatin': a track of labels"),
        (["objectives.region.wieght=2.0"], 2, "CFG-03 objectives.region.wieght: unknown key"),
        (["weighting=uncertainty", "objectives.region.weight=2.0"], 2, "OBJ-05 weighting: weighting is"),
    ],
)
def test_what_cannot_be_learned_is_one_sentence(
    words: list[str], code: int, message: str, run: Path, cache: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert run.exists()
    base = [word for word in on_clade(cache) if not (words[0].startswith("data=") and "clade" in word)]
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *base, *words, f"run.dir={tmp_path}/x"])
    error = capsys.readouterr().err
    assert message in error
    assert (ended.value.code, error.count("Traceback")) == (code, 0)
    assert not (tmp_path / "x").exists()

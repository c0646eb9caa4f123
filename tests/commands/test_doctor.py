"""`dnalm doctor`: planted faults are named by their lines, a healthy run has none, nothing is left behind."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dnalm.cli import main
from dnalm.commands.doctor import DoctorCommand, FinetuneDoctorCommand
from dnalm.commands.finetune import FinetuneCommand
from dnalm.commands.pretrain import PretrainCommand
from dnalm.compose.groups import composed_groups
from dnalm.evaluation.doctor import machine
from tests.conftest import random_sequence

TINY = ("model.hidden_size=16", "model.intermediate_size=32", "model.num_heads=2", "model.num_layers=1")


@dataclass
class Lab:
    """A folder with a genome and its cache, and what the doctor says of a run on it."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    @property
    def genome(self) -> Path:
        return self.folder / "genome.fa"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def write_genome(self, **contigs: str) -> None:
        self.write("genome.fa", "".join(f">{name}\n{text}\n" for name, text in contigs.items()))

    def program(self, *words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        captured = self.capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    def words(self, *words: str) -> list[str]:
        on = ["experiment=logo", "size=tiny", "data=fasta", f"data.fasta={self.genome}", *TINY]
        on += ["steps=300", "windows.num_validation=60", "model.embedding_size=16"]
        on += [f"data.cache={self.cache}", "run.dir=runs/first", *words]
        return list({word.partition("=")[0]: word for word in on}.values())  # of several for a key the last

    def diagnosis(self, *words: str, command: tuple[str, ...] = ("doctor",)) -> Diagnosis:
        code, out, _ = self.program(*command, *words, "json=true")
        return Diagnosis(code, json.loads(out))


@dataclass
class Diagnosis:
    """What was printed as JSON."""

    exit_code: int
    said: dict[str, Any]

    def of(self, level: str) -> list[tuple[str, str]]:
        """Check and text, with what to do, of the lines of a level."""
        return [
            (line["check"], f"{line['found']} -> {line.get('fix', '')}")
            for line in self.said["lines"]
            if line["level"] == level
        ]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lab:
    monkeypatch.chdir(tmp_path)
    made = Lab(tmp_path, capsys)
    made.write_genome(chr1=random_sequence(90_000), chr2=random_sequence(17_000, 1))
    return made


def test_a_healthy_pretraining_has_no_fail_and_leaves_nothing_but_what_the_run_would_cache(lab: Lab) -> None:
    before = {*lab.folder.rglob("*")}
    code, text, _ = lab.program("doctor", *lab.words())
    assert code == 0
    lines = text.splitlines()
    assert lines[-1].endswith("the run can start")
    assert [line for line in lines if len(line) > 80 and line[16:].strip() != str(lab.folder)] == []
    assert {line[:4] for line in lines[:-1]} == {"PASS", "    "}
    for check in ("config", "paths", "genomes", "contigs", "leakage", "windows", "tokens", "steps", "time"):
        assert any(line.startswith(f"PASS  {check:<9} ") for line in lines)
    left = {path for path in lab.folder.rglob("*") if lab.cache not in path.parents} - before
    assert left == {lab.cache}
    assert [path.name for path in lab.cache.iterdir() if not path.name.startswith(".")]


def test_figures_of_a_healthy_run_are_those_of_its_recipe_and_genome(lab: Lab) -> None:
    found = dict(lab.diagnosis(*lab.words()).of("PASS"))
    assert "2 contigs, 107,000 bases, 0.0% of them N" in found["genomes"]
    assert "validation on chr2" in found["contigs"]
    assert "1,984 tokens a step; experiment=logo size=tiny has 1,984" in found["batch"]
    assert "0.00% unknown" in found["tokens"]
    assert found["time"].startswith("about ")
    assert " for 300 steps of " in found["time"]
    assert "3 steps: first loss " in found["steps"]


def test_its_steps_are_those_of_the_run(lab: Lab) -> None:
    words = lab.words("trainer.log_every=1", "steps=4", "schedule.warmup_steps=1", "trainer.validate_every=4")
    said = dict(lab.diagnosis(*words).of("PASS"))["steps"]
    assert lab.program("pretrain", *words)[0] == 0
    with (lab.folder / "runs/first/metrics.csv").open() as file:
        first = next(csv.DictReader(file))
    assert f"first loss {float(first['train_loss']):.4g}," in said


def missing(lab: Lab) -> list[str]:
    lab.genome.unlink()
    return []


def damaged(lab: Lab) -> list[str]:
    assert lab.program("prepare", f"data.fasta={lab.genome}", f"data.cache={lab.cache}")[0] == 0
    (store,) = lab.cache.glob("genome-*/bases.bin")
    store.chmod(0o644)
    with store.open("r+b") as file:
        file.seek(100)
        byte = file.read(1)
        file.seek(100)
        file.write(bytes([byte[0] ^ 1]))
    return []


def edited(lab: Lab) -> list[str]:
    """Other bases, and the size and time of change that the store is known by."""
    assert lab.program("prepare", f"data.fasta={lab.genome}", f"data.cache={lab.cache}")[0] == 0
    status = lab.genome.stat()
    lab.write_genome(chr1=random_sequence(90_000, 7), chr2=random_sequence(17_000, 1))
    os.utime(lab.genome, ns=(status.st_atime_ns, status.st_mtime_ns))
    return []


def other_contig(_: Lab) -> list[str]:
    return ["data.split.validation=[chrIX]"]


def other_regions(lab: Lab) -> list[str]:
    bed = lab.write("regions.bed", "scaffold9\t0\t500\n")
    return [f"data.regions={bed}"]


def mostly_unknown(lab: Lab) -> list[str]:
    some = "".join(random_sequence(40, seed) + "N" * 60 for seed in range(800))
    lab.write_genome(chr1=some, chr2=some[:8_000])
    return ["windows.max_unknown=100"]


def long_windows(_: Lab) -> list[str]:
    return ["windows.max_tokens=30000", "model.max_positions=30002"]


def read_and_learned(lab: Lab) -> list[str]:
    track = f"{{_target_: dnalm.genome.track_recipes.IntervalLabels, files: {{a: {_bed(lab)}}}}}"
    learned = "{_target_: dnalm.training.track_objectives.ChromatinState, track: marks}"
    masked = "{_target_: dnalm.training.objectives.MaskedTokens}"
    return [
        f"data.tracks={{marks: {track}}}",
        "inputs=[marks]",
        f"objectives={{masked_tokens: {masked}, states: {learned}}}",
    ]


def of_another_assembly(lab: Lab) -> list[str]:
    bed = lab.write("elsewhere.bed", "scaffold9\t0\t500\n")
    track = f"{{_target_: dnalm.genome.track_recipes.IntervalLabels, files: {{a: {bed}}}}}"
    return [f"data.tracks={{marks: {track}}}", "inputs=[marks]"]


def _bed(lab: Lab) -> Path:
    rows = (f"chr{n}\t{start}\t{start + 300}\n" for n in (1, 2) for start in range(0, 7_000, 900))
    return lab.write("marks.bed", "".join(rows))


def something_else_there(lab: Lab) -> list[str]:
    (lab.folder / "runs/first").mkdir(parents=True)
    lab.write("runs/first/thesis.tex", "chapter one")
    return []


FAULTS: list[tuple[Callable[[Lab], list[str]], str, str, int]] = [
    (missing, "paths", "CFG-20 data.fasta: ", 2),
    (damaged, "genomes", "STORE-06 ", 3),
    (edited, "checksums", "has changed since its store", 3),
    (other_contig, "contigs", "STORE-07 ", 3),
    (other_regions, "contigs", "scaffold9", 3),
    (mostly_unknown, "tokens", "% unknown, ", 3),
    (long_windows, "windows", "no training window fits: the longest stretch without N has 90000", 3),
    (read_and_learned, "leakage", "CFG-30 inputs, objectives.states: track 'marks'", 2),
    (of_another_assembly, "tracks", "scaffold9", 3),
    (something_else_there, "folder", "CFG-23 run.dir: ", 2),
    (lambda _: ["optim.lr=0.2"], "rate", "has 0.002, 100 times as much: training would diverge", 2),
    (lambda _: ["schedule.warmup_steps=400"], "rate", "CFG-18 schedule.warmup_steps: 400 in a run of 300", 2),
    (
        lambda _: ["trainer.accelerator=gpu"],
        "device",
        "CFG-24 trainer.accelerator: gpu, and torch finds no",
        2,
    ),
    (lambda _: ["batch.micro_size=7"], "device", "CFG-19 batch.global_size: 32 samples; a multiple of", 2),
    (lambda _: ["optim.eps=none"], "config", "'none'", 2),
    (lambda _: ["windows.max_tokns=9"], "config", "CFG-03 windows.max_tokns: unknown key", 2),
    (lambda _: ["schedule=wave"], "config", "CFG-03 schedule: no option 'wave'", 2),
]


@pytest.mark.parametrize(("plant", "check", "message", "code"), FAULTS, ids=[f[2][:30] for f in FAULTS])
def test_a_planted_fault_is_named_by_its_line(
    plant: Callable[[Lab], list[str]], check: str, message: str, code: int, lab: Lab
) -> None:
    words = plant(lab)
    found = lab.diagnosis(*lab.words(*words))
    assert found.exit_code == found.said["exit_code"] == code
    fails = found.of("FAIL")
    assert fails[0][0] == check
    assert message in fails[0][1]
    assert not fails[0][1].endswith("-> "), "it says what to do"
    assert not list(lab.folder.glob("**/.dnalm-doctor-*"))


@pytest.fixture
def disks(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Free bytes by the beginning of a path, as far as the doctor sees them."""
    free: dict[str, int] = {}

    def usage(path: Path) -> SimpleNamespace:
        known = [size for start, size in free.items() if str(path).startswith(start)]
        return SimpleNamespace(free=known[0] if known else 10**12)

    monkeypatch.setattr(machine, "shutil", SimpleNamespace(disk_usage=usage))
    yield free
    assert shutil.disk_usage("/").total > 0  # that of everyone else


def test_a_disk_that_holds_no_checkpoint_fails_and_no_step_is_taken(lab: Lab, disks: dict[str, int]) -> None:
    disks[str(lab.folder)] = 10_000
    found = lab.diagnosis(*lab.words())
    ((check, text),) = found.of("FAIL")
    assert check == "disk"
    assert "10.0 kB free -> free space there" in text
    assert found.of("SKIP")[0] == ("steps", "not tried: the disk is too small -> ")


def test_shared_memory_too_small_for_the_workers_fails(lab: Lab, disks: dict[str, int]) -> None:
    disks["/dev/shm"] = 1_000
    ((check, text),) = lab.diagnosis(*lab.words("batch.num_workers=1")).of("FAIL")
    assert check == "workers"
    assert "1.0 kB free -> start the container with --shm-size" in text


def test_memory_too_small_fails_and_no_step_is_taken(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: 50_000)
    found = lab.diagnosis(*lab.words())
    assert [check for check, _ in found.of("FAIL")] == ["memory"]
    assert found.of("SKIP")[0][1].startswith("not tried: the memory is too small")


def test_a_step_far_from_the_recipe_is_a_warning(lab: Lab) -> None:
    found = lab.diagnosis(*lab.words("batch.global_size=4", "batch.micro_size=4", "optim.lr=1e-4"))
    assert found.exit_code == 0
    warnings = dict(found.of("WARN"))
    assert "248 tokens a step; experiment=logo size=tiny has 1,984, 8 times less" in warnings["batch"]
    assert "-> batch.global_size=32" in warnings["batch"]
    assert "20 times less -> optim.lr=0.002" in warnings["rate"]


def test_products_that_are_slower_in_bfloat16_are_a_warning(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "matrix_rate", lambda _, dtype: 1e9 if dtype == torch.bfloat16 else 4e9)
    warnings = dict(lab.diagnosis(*lab.words("trainer.precision=bf16-mixed")).of("WARN"))
    assert "4.0 times as long as in float32 here -> trainer.precision=32-true" in warnings["precision"]


def test_a_gpu_without_bfloat16_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
    subject: Any = SimpleNamespace(trainer=SimpleNamespace(device="cuda", arithmetic="bf16-mixed"))
    (found,) = machine.precision(subject)
    assert (found.level, found.exit_code) == ("FAIL", 2)
    assert found.found == "bf16-mixed, and Tesla T4 does not compute in bfloat16"


def test_versions_outside_of_what_is_asked_for_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"torch": "2.1.0", "lightning": None}
    real = machine._version
    monkeypatch.setattr(machine, "_version", lambda name: installed.get(name, real(name)))
    found = [each.found for each in machine.versions() if each.level == "FAIL"]
    assert any(text.startswith("torch 2.1.0, and dnalm ") for text in found)
    assert any(text.startswith("lightning is not installed, and dnalm ") for text in found)
    assert len(found) == 2


def test_several_mistakes_are_all_named_and_what_depends_on_them_is_not_tried(lab: Lab) -> None:
    lab.genome.unlink()
    code, text, _ = lab.program("doctor", *lab.words("optim.lr=0.2", "masking.rate=2", "seed=many"))
    assert code == 2
    levels = {line[6:15].strip(): line[:4] for line in text.splitlines() if line[:4].strip()}
    assert {name for name, level in levels.items() if level == "FAIL"} == {"config", "paths", "rate"}
    assert "masking: rate is 2" in " ".join(text.split())
    assert "CFG-04 seed: 'many'" in text
    (skipped,) = [line for line in text.splitlines() if line.startswith("SKIP  genomes")]
    assert "not tried: data was not accepted above; nor contigs" in skipped


def test_quiet_prints_warnings_and_errors_alone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from dnalm import console

    monkeypatch.setattr(console.stdout, "quiet", False)
    monkeypatch.setattr(console, "_hidden", [])
    monkeypatch.setenv("DNALM_QUIET", "")
    code, out, errors = lab.program("doctor", "-q", *lab.words("optim.lr=0.2"))
    assert (code, out) == (2, "")
    assert {line[:4] for line in errors.splitlines()[:-1]} == {"FAIL", "    "}


HEALTHY = ["model=tiny", *TINY, "tokenizer=kmer3", "budget=tiny", "steps=30", "run.dir=runs/tuned"]


def table(lab: Lab, name: str, rows: list[tuple[str, int]]) -> str:
    text = "".join(f"{sequence},{label}\n" for sequence, label in rows)
    return f"task.{name}={lab.write(f'{name}.csv', 'sequence,label' + chr(10) + text)}"


def rows(number: int, seed: int, *, extra: int = 0) -> list[tuple[str, int]]:
    """Random sequences; those of class 1 are longer by `extra` bases."""
    return [(random_sequence(60 + extra * (n % 2), 1000 * seed + n), n % 2) for n in range(number)]


def tables(lab: Lab, *, extra: int = 0) -> list[str]:
    sizes = {"train": 40, "val": 20, "test": 20}
    return [table(lab, name, rows(n, seed, extra=extra)) for seed, (name, n) in enumerate(sizes.items())]


def finetuning(lab: Lab, *words: str) -> Diagnosis:
    return lab.diagnosis(*HEALTHY, *words, command=("doctor", "finetune"))


def test_a_healthy_finetuning_has_no_fail_and_leaves_nothing(lab: Lab) -> None:
    words = tables(lab)
    before = {*lab.folder.rglob("*")}
    found = finetuning(lab, *words)
    assert found.exit_code == 0
    assert {line["level"] for line in found.said["lines"]} == {"PASS"}
    assert {*lab.folder.rglob("*")} == before
    said = dict(found.of("PASS"))
    assert "0 of 20 test sequences are in training" in said["copies"]
    assert " for 30 steps of " in said["time"]


def reverse(sequence: str) -> str:
    return sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


def test_test_sequences_that_train_are_counted_on_either_strand(lab: Lab) -> None:
    train, test = rows(40, 0), rows(20, 2)
    test[:3] = [train[0], (train[1][0].lower(), 1), (reverse(train[2][0]), 0)]
    words = [table(lab, "train", train), table(lab, "val", rows(20, 1)), table(lab, "test", test)]
    found = finetuning(lab, *words)
    assert found.exit_code == 3
    ((check, text),) = found.of("FAIL")
    assert check == "copies"
    assert text.startswith("3 of 20 test sequences are in training, 1 of them on the other strand -> take")


def test_labels_of_one_class_fail(lab: Lab) -> None:
    words = [*tables(lab), table(lab, "train", [(text, 0) for text, _ in rows(40, 0)])]
    found = finetuning(lab, *words[1:])
    assert found.exit_code == 3
    assert found.of("FAIL")[0][0] == "labels"
    assert "CSV-15" in found.of("FAIL")[0][1]


def test_labels_that_the_length_gives_away_are_a_warning(lab: Lab) -> None:
    warnings = dict(finetuning(lab, *tables(lab, extra=6)).of("WARN"))
    assert "their length alone tells the label of 100.0% of the test sequences" in warnings["leakage"]


def test_a_rare_class_is_a_warning(lab: Lab) -> None:
    train = [(text, int(n in (3, 7))) for n, (text, _) in enumerate(rows(80, 5))]
    words = [*tables(lab)[1:], table(lab, "train", train)]
    assert "class 1 is 2.50% of the training labels" in dict(finetuning(lab, *words).of("WARN"))["labels"]


def test_a_model_that_is_not_there_fails(lab: Lab) -> None:
    words = [*(word for word in HEALTHY if "model" not in word), *tables(lab), "model=runs/nowhere"]
    found = lab.diagnosis(*words, command=("doctor", "finetune"))
    assert found.exit_code == 2
    assert found.of("FAIL")[0][0] in ("config", "model")
    assert "runs/nowhere" in found.of("FAIL")[0][1]


@pytest.mark.parametrize(
    ("doctor", "of", "root"),
    [(DoctorCommand, PretrainCommand, "doctor"), (FinetuneDoctorCommand, FinetuneCommand, "doctor_finetune")],
)
def test_it_takes_what_the_command_takes(doctor: type, of: type, root: str) -> None:
    taken = {field.name for field in fields(of) if field.init}
    assert {field.name for field in fields(doctor)} == taken | {"chosen", "json"}
    assert composed_groups(root) == composed_groups(of.command)

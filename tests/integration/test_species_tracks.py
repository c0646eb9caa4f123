"""Objectives on tracks of several genomes end to end: the clade, own files, addresses, five yeasts."""

import json
import math
from pathlib import Path

import pytest
from safetensors.torch import load_file

from dnalm.cli import main
from dnalm.genome.genes import REGION_CLASSES
from tests.conftest import random_sequence
from tests.genome.library import Library, serve
from tests.integration.test_pretrain import MINIATURE, program

MULTITASK = ["experiment=logo_multitask", *MINIATURE, "model.embedding_size=16"]
REGION_ONLY = [*MULTITASK, "~objectives.chromatin", "~objectives.conservation"]
YEASTS = ("sacCer3", "SK1", "CBS432", "N44", "Sarb")


def tracks_by_gff(gffs: dict[str, Path]) -> str:
    recipes = [
        f"{name}: {{_target_: dnalm.genome.track_recipes.RegionClasses, gff: {gff}}}"
        for name, gff in gffs.items()
    ]
    return f"data.tracks={{region: {{{', '.join(recipes)}}}}}"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def on_clade(cache: Path) -> list[str]:
    return [*MULTITASK, "data=clade", "data.clade.genome_bp=200000", f"data.cache={cache}"]


def test_a_clade_learns_all_its_tracks_with_a_species_held_out(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program("pretrain", *on_clade(cache), "data.held_out=[demo_c]", f"run.dir={tmp_path}/run")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert set(summary["objectives"]) == {"region", "chromatin", "conservation"}
    for figures in summary["objectives"].values():
        assert figures["targets"] > 50
        assert all(math.isfinite(value) for value in figures["model"].values())
    assert set(summary["species"]) == {f"demo_{letter}" for letter in "abcde"}
    out = capsys.readouterr().out
    assert "demo_c.fa: " in out
    assert "demo_c is held out" in out
    for track, share in (("region", "5 of 5"), ("chromatin", "5 of 5"), ("conservation", "1 of 5")):
        assert f"track {track} of {share} genomes: " in out
    assert (tmp_path / "run/tracks.png").exists()


def test_the_only_species_with_a_track_cannot_be_held_out(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *on_clade(cache), "data.held_out=[demo_a]", f"run.dir={tmp_path}/run"])
    error = capsys.readouterr().err
    assert ended.value.code == 3
    assert "DATA-07 data.tracks.conservation: none of demo_b, demo_c, demo_d, demo_e, which train" in error
    assert not (tmp_path / "run").exists()


def annotated(folder: Path, name: str, seed: int) -> tuple[bytes, Path]:
    """A random genome with a gene every kilobase."""
    fasta = f">chr1\n{random_sequence(9_000, seed)}\n>chr2\n{random_sequence(1_500, seed + 50)}\n"
    rows = [
        f"{contig}\tx\t{kind}\t{start}\t{start + 400}\t.\t+\t.\tID={identity}{contig}{start}{parent}\n"
        for contig, start in [("chr2", 800), *(("chr1", start) for start in range(1_200, 8_000, 1_000))]
        for kind, identity, parent in (
            ("gene", "g", ""),
            ("mRNA", "m", f";Parent=g{contig}{start}"),
            ("exon", "e", f";Parent=m{contig}{start}"),
            ("CDS", "c", f";Parent=m{contig}{start}"),
        )
    ]
    gff = folder / f"{name}.gff3"
    gff.write_text("##gff-version 3\n" + "".join(rows))
    return fasta.encode(), gff


def test_genomes_at_addresses_train_with_annotations_of_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (one, gff), (two, _) = annotated(tmp_path, "one", 1), annotated(tmp_path, "two", 2)
    (tmp_path / "local.fa").write_bytes(two)
    with serve(Library({"one.fa": one})) as library:
        words = [
            *REGION_ONLY,
            "data=multispecies",
            f"data.genomes={{one: {library.url('one.fa')}, two: {tmp_path}/local.fa}}",
            tracks_by_gff({"one": gff}),
            f"data.cache={tmp_path}/cache",
        ]
        program("pretrain", *words, f"run.dir={tmp_path}/run")
        assert library.names() == ["one.fa"]
    printed = capsys.readouterr()
    assert "no checksum is known" in printed.err
    assert "track region of 1 of 2 genomes: " in printed.out
    assert json.loads((tmp_path / "run/summary.json").read_text())["objectives"]["region"]["targets"] > 0


@pytest.mark.parametrize(
    ("gffs", "code", "message"),
    [
        (
            {"onee": "one.gff3"},
            2,
            "CFG-18 data: tracks.region names onee; the genomes are one, two; did you mean one?",
        ),
        ({"one": "absent.gff3"}, 2, "CFG-20 data.tracks.region.one.gff: "),
        ({}, 2, "CFG-18 data: tracks.region is {}; what makes it for a genome is as in data.tracks.region="),
    ],
)
def test_wrong_tracks_are_one_sentence(
    gffs: dict[str, str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fasta, _ = annotated(tmp_path, "one", 1)
    for name in ("one", "two"):
        (tmp_path / f"{name}.fa").write_bytes(fasta)
    words = [
        *REGION_ONLY,
        "data=multispecies",
        f"data.genomes={{one: {tmp_path}/one.fa, two: {tmp_path}/two.fa}}",
        tracks_by_gff({name: tmp_path / gff for name, gff in gffs.items()}),
        f"data.cache={tmp_path}/cache",
    ]
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *words, f"run.dir={tmp_path}/run"])
    error = capsys.readouterr().err
    assert message in error
    assert (ended.value.code, error.count("\n")) == (code, 1)


def test_five_yeasts_learn_regions_with_one_held_out(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "genomes"
    genomes = ", ".join(f"{name}: {folder}/{name}.fa.gz" for name in YEASTS)
    words = [
        *REGION_ONLY,
        "data=multispecies",
        f"data.genomes={{{genomes}}}",
        "data.held_out=[Sarb]",
        tracks_by_gff({name: folder / f"{name}.gff3.gz" for name in YEASTS}),
        f"data.cache={tmp_path}/cache",
        "data.prepare_workers=2",
        "windows.num_validation=60",
    ]
    program("pretrain", *words, f"run.dir={tmp_path}/run")
    out = capsys.readouterr().out
    assert "track region of 5 of 5 genomes: " in out
    for name in YEASTS:
        assert f"  {name}: " in out
    region = json.loads((tmp_path / "run/summary.json").read_text())["objectives"]["region"]
    assert region["targets"] > 500
    assert all(math.isfinite(value) for value in region["model"].values())
    heads = load_file(tmp_path / "run/model/heads.safetensors")
    assert heads["region.output.weight"].shape == (len(REGION_CLASSES), 16)

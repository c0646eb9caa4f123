"""The index beside a scored VCF: of the kind that its contigs need, never stale; else a note."""

from __future__ import annotations

from pathlib import Path

import pysam
import pytest

from dnalm.evaluation.variants.output import write_output
from dnalm.genome.variants import find_form, read_records

LIMIT = 1 << 29  # bases that a .tbi can index, by its specification


def write(folder: Path, positions: list[int], *, longest_bp: int | None, info: str = ".") -> str | None:
    """Score made-up variants; the note of what was written."""
    rows = [f"big\t{position}\t.\tA\tC\t.\t.\t{info}\n" for position in positions]
    head = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    (folder / "in.vcf").write_text(head + "".join(rows))
    form = find_form(folder / "in.vcf")
    scored = ((record, [[0.5]]) for record in read_records(folder / "in.vcf", form))
    return write_output(folder / "out.vcf.gz", form, ("llr",), scored, model="runs/x", longest_bp=longest_bp)


def indices(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(("out", ".out")))


def fetched(folder: Path, start: int, end: int) -> list[int]:
    with pysam.VariantFile(str(folder / "out.vcf.gz")) as file:
        return [record.pos for record in file.fetch("big", start, end)]


@pytest.mark.parametrize(("longest_bp", "ending"), [(LIMIT, "tbi"), (LIMIT + 1, "csi")])
def test_the_kind_follows_from_the_longest_contig(longest_bp: int, ending: str, tmp_path: Path) -> None:
    assert write(tmp_path, [5, 9, LIMIT - 1], longest_bp=longest_bp) is None
    assert indices(tmp_path) == ["out.vcf.gz", f"out.vcf.gz.{ending}"]
    assert fetched(tmp_path, 5, LIMIT) == [9, LIMIT - 1]


def test_positions_beyond_the_limit_are_found_through_the_index(tmp_path: Path) -> None:
    positions = [LIMIT - 1, LIMIT, LIMIT + 7, 2 * LIMIT + 1]
    assert write(tmp_path, positions, longest_bp=2 * LIMIT + 1) is None
    assert fetched(tmp_path, LIMIT, 2 * LIMIT) == [LIMIT + 7]
    assert fetched(tmp_path, 0, 3 * LIMIT) == positions


def test_an_end_that_no_length_tells_gets_a_csi_too(tmp_path: Path) -> None:
    assert write(tmp_path, [5], longest_bp=100, info=f"END={LIMIT + 9}") is None
    assert indices(tmp_path) == ["out.vcf.gz", "out.vcf.gz.csi"]


def test_the_index_of_an_earlier_output_does_not_stay(tmp_path: Path) -> None:
    for ending in ("tbi", "csi", "summary.json"):
        (tmp_path / f"out.vcf.gz.{ending}").write_text("stale")
    assert write(tmp_path, [5], longest_bp=LIMIT) is None
    assert indices(tmp_path) == ["out.vcf.gz", "out.vcf.gz.tbi"]
    assert write(tmp_path, [9, 5], longest_bp=None) == "the variants are not sorted"
    assert indices(tmp_path) == ["out.vcf.gz"]


def test_an_index_that_fails_is_a_note(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert write(tmp_path, [9, 5], longest_bp=100) == f"building of index for {tmp_path}/out.vcf.gz failed"

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pysam, "tabix_index", full)
    assert write(tmp_path, [5], longest_bp=100) == "[Errno 28] No space left on device"
    assert indices(tmp_path) == ["out.vcf.gz"]
    assert capfd.readouterr().err == ""

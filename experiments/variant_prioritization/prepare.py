"""Write the real sets of variants as tables that `dnalm score` takes, with their labels.

    python experiments/variant_prioritization/prepare.py ../shared/data OUT

mpra.tsv      saturation mutagenesis on wild-type sequences: chrom is the element, label the log2 effect
              (at least 10 barcodes, as the authors advise), group the element; reference mpra.fa
clinvar.tsv   pathogenic (1) against common (0) noncoding SNVs
gwas.tsv      GWAS-associated (1) against common (0)
indels.tsv    pathogenic (1) against benign (0) noncoding indels
The last three lie on all chromosomes; those of other contigs than the reference's are passed over by
`other_contigs=skip`.
"""

from __future__ import annotations

import csv
import gzip
import re
import sys
from pathlib import Path

_MIN_BARCODES = 10
_HEADER = ["chrom", "pos", "id", "ref", "alt", "label", "group"]
_PLACE = re.compile(r"(\S+) (\S+):(\d+)-(\d+) (\S+)")
_SETS = {
    "clinvar": ("clinvar_1000g/clinvar_177_1000g_177.hg19.vcf", "Clinvar"),
    "gwas": ("gwas_1000g/gwas_704_1000g_704.hg19.vcf", "GWAS"),
    "indels": ("clinvar_indel/clinvar_noncoding_indel.hg19.tsv", "Pathogenic"),
}


def main() -> None:
    """Read the folder of data, write four tables and a FASTA."""
    data, out = Path(sys.argv[1]) / "variants", Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for name, (source, positive) in _SETS.items():
        rows = [line.split("\t")[:5] for line in (data / source).read_text().splitlines() if line.strip()]
        ones = [row for row in rows if row[2].lower().startswith(positive.lower())]
        print(f"{name}: {len(rows)} variants, {len(ones)} of class 1")
        labelled = [[*row, str(int(row in ones)), row[0]] for row in rows]
        _write(out / f"{name}.tsv", labelled)
    _write(out / "mpra.tsv", _mpra(data / "mpra_satmut", out / "mpra.fa"))


def _mpra(folder: Path, fasta: Path) -> list[list[str]]:
    """Positions counted within each element's sequence."""
    text = (folder / "element_refs.GRCh37.derived.fa").read_text()
    starts, names = {}, []
    for line in text.splitlines():
        match = _PLACE.match(line.removeprefix(">")) if line.startswith(">") else None
        if match:
            starts[match[1]] = int(match[3])
            names.append(match[1])
    fasta.write_text(
        "\n".join(line.split()[0] if line.startswith(">") else line for line in text.splitlines()) + "\n"
    )
    rows = []
    with gzip.open(folder / "elements.tsv.gz", "rt") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            element = row["Element"]
            if row["Release"] != "GRCh37" or element not in starts or "NA" in (row["Pos"], row["Barcodes"]):
                continue
            if int(row["Barcodes"]) < _MIN_BARCODES:
                continue
            place = int(row["Pos"]) - starts[element] + 1
            rows.append([element, str(place), ".", row["Ref"], row["Alt"], row["Coefficient"], element])
    print(f"mpra: {len(rows)} variants on {len(names)} elements")
    return rows


def _write(path: Path, rows: list[list[str]]) -> None:
    path.write_text("\n".join("\t".join(row) for row in [_HEADER, *rows]) + "\n")


if __name__ == "__main__":
    main()

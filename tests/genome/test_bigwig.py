"""A bigWig gives its values or an error, whatever is in it."""

from __future__ import annotations

import itertools
import math
import random
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pybigtools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome.bigwig import BigWigReader
from dnalm.genome.store import GenomeStore, build_store
from tests.genome.write_bigwig import HEADER_BYTES, BigWig

LENGTHS = {"chr1": 4000, "chr2": 3000}
SMALL = BigWig(
    LENGTHS,
    {"chr1": [(10, 12, 0.5), (12, 13, -2.0), (100, 200, 3.25)], "chr2": [(0, 1, 1.0), (2999, 3000, 7.5)]},
)
OFFSETS = {
    "zooms": (6, "<H"),
    "contigs": (8, "<Q"),
    "data": (16, "<Q"),
    "index": (24, "<Q"),
    "summary": (44, "<Q"),
}
NUM_MUTATIONS = 1000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GenomeStore:
    folder = tmp_path_factory.mktemp("genome")
    (folder / "genome.fa").write_text("".join(f">{name}\n{'A' * n}\n" for name, n in LENGTHS.items()))
    return build_store(folder / "genome.fa", folder / "store")


def read(path: Path, store: GenomeStore, **options: object) -> list[tuple[str, int, int, float]]:
    rows = []
    for contig, block in BigWigReader(path, store, **options):  # type: ignore[arg-type]
        rows += [(contig.name, *row) for row in block.tolist()]
    return rows


def written(content: bytes, folder: Path) -> Path:
    path = folder / "a.bw"
    path.write_bytes(content)
    return path


def rows_of(file: BigWig) -> list[tuple[str, int, int, float]]:
    return [(name, *row) for name in file.lengths for row in file.rows.get(name, [])]


def patched(field: str, value: int) -> bytes:
    offset, form = OFFSETS[field]
    content = bytearray(SMALL.content())
    struct.pack_into(form, content, offset, value)
    return bytes(content)


def with_rows(*rows: tuple[int, int, float], **options: object) -> bytes:
    return replace(SMALL, rows={"chr1": list(rows)}, **options).content()  # type: ignore[arg-type]


def flipped() -> bytes:
    """One bit of compressed data changed."""
    content = bytearray(SMALL.content())
    (data,) = struct.unpack_from("<Q", content, 16)
    content[data + 8 + 12] ^= 0x10
    return bytes(content)


GOOD = SMALL.content()
CASES = [
    ("BW-01", b"", ("the file is empty",)),
    ("BW-02", b"track type=wiggle_0\nfixedStep chrom=chr1\n", ("this is text", "bedGraph", "wigToBigWig")),
    ("BW-02", bytes(100), ("begins with bytes 00 00 00 00",)),
    ("BW-02", struct.pack("<I", 0x8789F2EB) + bytes(100), ("this is a bigBed file", "bigBedToBed")),
    ("BW-03", GOOD[:40], ("the file has 40 bytes", f"a header of {HEADER_BYTES}", "it was cut")),
    ("BW-04", GOOD[: len(GOOD) // 2], ("would begin at offset", f"of {len(GOOD) // 2} bytes", "it was cut")),
    ("BW-05", GOOD[:-4], ("the last 4 bytes are not the magic number", "it was cut")),
    ("BW-06", patched("zooms", 65535), ("the header has 65535 zoom levels", "at most 32")),
    ("BW-07", patched("contigs", 2**62), ("contig list would begin at offset 4611686018427387904",)),
    ("BW-08", patched("index", 2**62), ("index would begin at offset 4611686018427387904",)),
    ("BW-09", patched("data", 2**62), ("data would begin at offset 4611686018427387904",)),
    ("BW-09", patched("summary", 2**62), ("summary would begin at offset 4611686018427387904",)),
    ("BW-10", flipped(), ("the file is damaged",)),
    ("BW-10", with_rows((1, 5, 2.0), summary=(4, 2, 2, 9, 16)), ("4 values with sum 8", "4 with sum 9")),
    ("BW-10", with_rows((1, 5, 2.0), summary=(5, 2, 2, 8, 16)), ("4 values with sum 8", "5 with sum 8")),
    ("BW-10", with_rows((1, 4001, 2.0)), ("damaged: `chr1` has an empty interval or one past its end",)),
    ("BW-11", replace(SMALL, lengths={"chr1": 4001, "chr2": 3000}).content(),
     ("contig `chr1` has 4001 bases", "4000, as `chr1` of genome.fa")),
    ("BW-12", with_rows((1, 5, 2.0), (7, 9, math.inf)), ("the value at chr1:7-9 is infinite",)),
    ("BW-13", with_rows((1, 5, 2.0), (4, 9, 1.0)), ("the interval chr1:4-9 begins before",)),
    ("BW-14", replace(SMALL, order=">").content(), ("the file is big-endian", "bedGraphToBigWig")),
    ("BW-15", BigWig({"chr9": 50}, {"chr9": [(0, 1, 1.0)]}).content(), ("unknown contig `chr9`", "`chr1`")),
]  # fmt: skip


@pytest.mark.parametrize(("code", "content", "words"), CASES, ids=lambda value: str(value)[:6])
def test_malformed_file_gives_its_code_and_cause(
    code: str, content: bytes, words: tuple[str, ...], store: GenomeStore, tmp_path: Path
) -> None:
    path = written(content, tmp_path)
    with pytest.raises(DataError) as caught:
        read(path, store)
    message = str(caught.value)
    assert message.startswith(f"{code} {path}: ")
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


def test_absent_file_is_an_error(store: GenomeStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"BW-01 .*cannot be read \(No such file"):
        read(tmp_path / "absent.bw", store)


@pytest.mark.parametrize("compressed", [True, False])
def test_sound_file_gives_its_rows(compressed: bool, store: GenomeStore, tmp_path: Path) -> None:
    path = written(replace(SMALL, compressed=compressed).content(), tmp_path)
    assert read(path, store) == rows_of(SMALL)


STEPS = [(10, 12, 0.5), (20, 22, 1.5), (30, 32, -2.5)]


@pytest.mark.parametrize("kind", [1, 2, 3], ids=["bedGraph", "variable step", "fixed step"])
@pytest.mark.parametrize("compressed", [True, False])
def test_every_kind_of_section_is_read_as_pybigtools_reads_it(
    kind: int, compressed: bool, store: GenomeStore, tmp_path: Path
) -> None:
    file = BigWig(LENGTHS, {"chr1": STEPS, "chr2": STEPS}, kind=kind, compressed=compressed)
    path = written(file.content(), tmp_path)
    assert read(path, store) == rows_of(file)
    other = pybigtools.open(str(path))
    assert [(name, *row) for name in other.chroms() for row in other.records(name)] == rows_of(file)


def test_records_of_a_contig_come_in_one_block_and_in_order(store: GenomeStore, tmp_path: Path) -> None:
    """Files have sections of 1,024 records; small arrays would be slow to work on."""
    rows = [(name, start, start + 1, 1.0) for name in LENGTHS for start in range(2500)]
    pybigtools.open(str(tmp_path / "b.bw"), "w").write(LENGTHS, iter(rows))
    blocks = list(BigWigReader(tmp_path / "b.bw", store))
    assert [(contig.name, len(block)) for contig, block in blocks] == [("chr1", 2500), ("chr2", 2500)]
    assert read(tmp_path / "b.bw", store) == rows


def field_set(place: int, form: str, value: int) -> bytes:
    content = bytearray(GOOD)
    struct.pack_into(form, content, place, value)
    return bytes(content)


TREE = HEADER_BYTES + 40  # after the summary
INDEX = struct.unpack_from("<Q", GOOD, 24)[0]
HUNGRY = {
    "block size": (52, "<I", 2**32 - 1, "its blocks would have 4294967295 bytes"),
    "key size": (TREE + 8, "<I", 2**31, "would reach past its end"),
    "number of contigs": (TREE + 16, "<Q", 2**62, "its contig list has 2 names, not 4611686018427387904"),
    "contigs of a node": (TREE + 34, "<H", 65535, "would reach past its end"),
    "size of a block": (INDEX + 48 + 4 + 24, "<Q", 2**33, "would reach past its end"),
    "offset of a block": (INDEX + 48 + 4 + 16, "<Q", 2**63, "would reach past its end"),
}


@pytest.mark.parametrize("field", HUNGRY)
def test_a_field_that_asks_for_much_memory_is_refused(field: str, store: GenomeStore, tmp_path: Path) -> None:
    place, form, value, words = HUNGRY[field]
    path = written(field_set(place, form, value), tmp_path)
    with pytest.raises(DataError, match=rf"BW-10 .*{words}"):
        read(path, store)


def test_a_tree_that_runs_in_a_circle_is_refused(store: GenomeStore, tmp_path: Path) -> None:
    node = struct.pack("<BBH", 0, 0, 1) + struct.pack("<IIIIQ", 0, 0, 0, 9, INDEX + 48)
    path = written(GOOD[: INDEX + 48] + node + GOOD[INDEX + 48 + len(node) :], tmp_path)
    with pytest.raises(DataError, match=r"BW-10 .*the tree at offset \d+ runs in a circle"):
        read(path, store)


def test_a_block_that_unpacks_to_more_than_the_file_says_is_refused(
    store: GenomeStore, tmp_path: Path
) -> None:
    path = written(field_set(52, "<I", 30), tmp_path)
    with pytest.raises(DataError, match=r"BW-10 .*it has more than 30 bytes"):
        read(path, store)


def test_bw_12_nan_is_missing_and_counted(store: GenomeStore, tmp_path: Path) -> None:
    path = written(with_rows((1, 5, math.nan), (5, 6, 2.0)), tmp_path)
    reader = BigWigReader(path, store)
    ((_, block),) = list(reader)
    assert np.isnan(block["value"]).tolist() == [True, False]
    assert f"BW-12 {path}: 4 values are NaN and count as missing" in reader.notes()


def test_bw_15_other_contigs_are_skipped_if_asked_and_absent_ones_noted(
    store: GenomeStore, tmp_path: Path
) -> None:
    file = BigWig({"1": 4000, "chr9": 50}, {"1": [(3, 4, 1.5)], "chr9": [(0, 1, 1.0)]})
    path = written(file.content(), tmp_path)
    reader = BigWigReader(path, store, other_contigs="skip")
    assert [(contig.name, block.tolist()) for contig, block in reader] == [("chr1", [(3, 4, 1.5)])]
    assert reader.notes() == [
        f"BW-15 {path}: 1 other contigs skipped",
        f"BW-15 {path}: 1 contigs of the genome have no values there",
    ]


values = st.floats(-1e6, 1e6, width=32).map(lambda value: value + 0.0)


@given(data=st.data())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_pybigtools_writes_is_read(data: st.DataObject, store: GenomeStore, tmp_path: Path) -> None:
    rows = []
    for name, length in LENGTHS.items():
        edges = sorted(data.draw(st.sets(st.integers(0, length), min_size=2, max_size=20)))
        rows += [(name, start, end, data.draw(values)) for start, end in itertools.pairwise(edges)]
    pybigtools.open(str(tmp_path / "b.bw"), "w").write(LENGTHS, iter(rows))
    assert read(tmp_path / "b.bw", store) == rows


def mutate(content: bytes, generator: random.Random) -> bytes:
    """Change bits or bytes, overwrite a number, cut, or repeat a piece."""
    changed = bytearray(content)
    place = generator.randrange(len(changed))
    match generator.randrange(5):
        case 0:
            changed[place] ^= 1 << generator.randrange(8)
        case 1:
            changed[place : place + 4] = generator.randbytes(len(changed[place : place + 4]))
        case 2:
            place = generator.randrange(len(changed) - 8)
            struct.pack_into(
                "<Q", changed, place, generator.choice([0, 1, 2**31, 2**32 - 1, 2**62, 2**64 - 1])
            )
        case 3:
            del changed[place:]
        case _:
            end = min(len(changed), place + generator.randrange(1, 64))
            changed[place:place] = changed[place:end]
    return bytes(changed)


def test_no_mutation_kills_or_fools_the_reader(store: GenomeStore, tmp_path: Path) -> None:
    """Either the values are the same, or there is an error of ours."""
    generator = random.Random(20260212)
    rows = [(name, start, start + 3, float(start % 17) / 4) for name, length in LENGTHS.items()
            for start in range(0, length - 5, 7)]  # fmt: skip
    pybigtools.open(str(tmp_path / "good.bw"), "w").write(LENGTHS, iter(rows))
    good = (tmp_path / "good.bw").read_bytes()
    assert read(tmp_path / "good.bw", store) == rows

    def outcome(content: bytes) -> str:
        try:
            return "same" if read(written(content, tmp_path), store) == rows else "fooled"
        except DataError as error:
            return error.code

    outcomes = Counter(outcome(mutate(good, generator)) for _ in range(NUM_MUTATIONS))
    assert outcomes["fooled"] == 0, outcomes
    assert outcomes["same"] > 0.1 * NUM_MUTATIONS
    assert sum(outcomes.values()) - outcomes["same"] > 0.3 * NUM_MUTATIONS

"""A bigWig gives its values or an error; whatever is in it, who asks for it lives and is not fooled."""

from __future__ import annotations

import itertools
import math
import os
import random
import signal
import struct
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pybigtools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnalm.errors import DataError
from dnalm.genome import bigwig as bigwig_process
from dnalm.genome import bigwig_child
from dnalm.genome.bigwig import BigWigReader, ChildLimits
from dnalm.genome.store import GenomeStore, build_store
from tests.genome.annotations.write_bigwig import HEADER_BYTES, BigWig

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
NUM_MUTATIONS = 200


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
    ("BW-10", with_rows((1, 4001, 2.0)), ("the file is damaged: its 3999 values", "the 4000 with sum",)),
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


def test_bw_12_nan_is_missing_and_counted(store: GenomeStore, tmp_path: Path) -> None:
    path = written(with_rows((1, 5, math.nan), (5, 6, 2.0)), tmp_path)
    reader = BigWigReader(path, store)
    ((_, block),) = list(reader)
    assert np.isnan(block["value"]).tolist() == [True, False]
    assert f"BW-12 {path}: 4 values are NaN and count as missing" in reader.notes()


def test_bw_15_other_contigs_are_skipped_if_told_and_absent_ones_noted(
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
    """Either the values are the same, or there is an error; the parent takes no signal."""
    generator = random.Random(20260212)
    rows = [(name, start, start + 3, float(start % 17) / 4) for name, length in LENGTHS.items()
            for start in range(0, length - 5, 7)]  # fmt: skip
    pybigtools.open(str(tmp_path / "good.bw"), "w").write(LENGTHS, iter(rows))
    good = (tmp_path / "good.bw").read_bytes()
    assert read(tmp_path / "good.bw", store) == rows

    def outcome(number_and_content: tuple[int, bytes]) -> str:
        number, content = number_and_content
        path = tmp_path / f"{number}.bw"
        path.write_bytes(content)
        try:
            return "same" if read(path, store, limits=ChildLimits(cpu_seconds=5)) == rows else "fooled"
        except DataError as error:
            return error.code

    contents = [(number, mutate(good, generator)) for number in range(NUM_MUTATIONS)]
    with ThreadPoolExecutor(2) as pool:
        outcomes = Counter(pool.map(outcome, contents))
    assert outcomes["fooled"] == 0, outcomes
    assert outcomes["same"] > 0.1 * NUM_MUTATIONS
    assert sum(outcomes.values()) - outcomes["same"] > 0.3 * NUM_MUTATIONS


CHILD = """
import os, signal, struct, sys, time, zlib
sys.stdout.buffer.write(b"dnalm bigWig 1\\n"); sys.stdout.flush()
{}
"""
BEHAVIOURS = [
    ("os.kill(os.getpid(), signal.SIGSEGV)", "BW-10", "its reader died of SIGSEGV"),
    ("os.abort()", "BW-10", "its reader died of SIGABRT"),
    ("sys.exit(3)", "BW-10", "its reader died of exit status 3"),
    ("os.kill(os.getpid(), signal.SIGKILL)", "BW-16", "took too much time or memory"),
    ("time.sleep(60)", "BW-16", "reading it gave nothing for 1 s"),
    ("sys.stdout.buffer.write(struct.pack('<IIII', 1, 0, 12, 7) + bytes(12))", "BW-10", "garbled"),
    ("sys.stdout.close(); os.close(1); time.sleep(60)", "BW-10", "garbled"),
    ("sys.stdout.buffer.write(struct.pack('<IIII', 1, 5, 0, 0))", "BW-10", "without its contigs"),
    ("sys.stdout.buffer.write(struct.pack('<IIII', 0, 0, 2**32 - 1, 7))", "BW-10", "died of exit status 0"),
]  # fmt: skip


@pytest.mark.parametrize(("code_of_child", "code", "words"), BEHAVIOURS, ids=lambda text: str(text)[:24])
def test_whatever_the_child_does_is_an_error(
    code_of_child: str,
    code: str,
    words: str,
    store: GenomeStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "child.py").write_text(CHILD.format(code_of_child))
    monkeypatch.setattr(bigwig_child, "__file__", str(tmp_path / "child.py"))
    begin = time.monotonic()
    with pytest.raises(DataError) as caught:
        read(written(GOOD, tmp_path), store, limits=ChildLimits(stall_seconds=1))
    assert str(caught.value).startswith(f"{code} ")
    assert words in str(caught.value)
    assert time.monotonic() - begin < 20


def test_the_child_has_limits(store: GenomeStore, tmp_path: Path) -> None:
    path = written(GOOD, tmp_path)
    with pytest.raises(DataError, match=r"BW-1[06]"):
        read(path, store, limits=ChildLimits(memory_bytes=64 << 20))


def test_no_child_is_left_when_reading_stops_early(
    store: GenomeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    popen = bigwig_process.subprocess.Popen
    monkeypatch.setattr(
        bigwig_process.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    rows = iter(BigWigReader(written(GOOD, tmp_path), store))
    next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert started[0].returncode is not None
    with pytest.raises(ProcessLookupError):
        os.kill(started[0].pid, signal.SIGCONT)

"""What tracks say of tokens, against loops over every token and every base."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dnalm.data import BatchPlan, GenomeCorpus, Masking, MultispeciesCorpus, WindowRecipe
from dnalm.data.batch import (
    MASKED_BASES,
    MASKED_TOKENS,
    Batch,
    CountedSteps,
    collate,
    count_targets,
    is_known,
)
from dnalm.data.module import GenomeData
from dnalm.data.targets import (
    AbsentTrack,
    any_of,
    majority,
    mean_of,
    read_targets,
    target_name,
    track_of,
)
from dnalm.data.windows import Window
from dnalm.errors import DataError
from dnalm.genome.alphabet import Codes, reverse_complement
from dnalm.genome.track_recipes import IntervalClasses, IntervalLabels, Signal
from dnalm.genome.tracks import MISSING, TrackStore
from dnalm.simulation.settings import Clade
from dnalm.tokenizers import KmerTokenizer, LogoTokenizer, Tokenizer
from tests.conftest import random_sequence
from tests.tokenizers.examples import EVERY, any_codes

every = pytest.mark.parametrize("tokenizer", EVERY.values(), ids=EVERY)
fewer = settings(max_examples=25)
seeds = st.integers(0, 2**32 - 1)


def spans_of(tokenizer: Tokenizer, codes: Codes) -> np.ndarray:
    return tokenizer.spans(codes, tokenizer.encode(codes))


@every
@fewer
@given(codes=any_codes, seed=seeds)
def test_a_token_has_the_class_of_most_known_bases(tokenizer: Tokenizer, codes: Codes, seed: int) -> None:
    classes = np.random.default_rng(seed).choice([0, 1, 2, MISSING], len(codes)).astype(np.uint8)
    spans = spans_of(tokenizer, codes)
    found = majority(classes, spans, num_classes=3)
    for (start, end), ours in zip(spans, found, strict=True):
        counts = Counter(number for number in classes[start:end].tolist() if number != MISSING)
        expected = min(counts, key=lambda number: (-counts[number], number)) if counts else -1
        assert ours == expected


@every
@fewer
@given(codes=any_codes, seed=seeds)
def test_a_token_has_a_label_if_any_known_base_has(tokenizer: Tokenizer, codes: Codes, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.choice([0, 1, MISSING], (len(codes), 3), p=[0.5, 0.1, 0.4]).astype(np.uint8)
    spans = spans_of(tokenizer, codes)
    found = any_of(labels, spans)
    for token, (start, end) in enumerate(spans):
        for label in range(3):
            known = [value for value in labels[start:end, label].tolist() if value != MISSING]
            assert found[token, label] == (max(known) if known else -1)


@every
@fewer
@given(codes=any_codes, seed=seeds)
def test_a_token_has_the_mean_of_known_bases(tokenizer: Tokenizer, codes: Codes, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = np.where(random.random(len(codes)) < 0.4, np.nan, random.normal(size=len(codes)))
    spans = spans_of(tokenizer, codes)
    for (start, end), ours in zip(spans, mean_of(values, spans), strict=True):
        known = [value for value in values[start:end].tolist() if not np.isnan(value)]
        assert ours == pytest.approx(sum(known) / len(known) if known else np.nan, nan_ok=True, rel=1e-5)


def test_classes_equally_common_give_the_first() -> None:
    spans = np.array([[0, 4], [4, 6], [6, 6]])
    assert majority(np.array([2, 1, 2, 1, MISSING, 2]), spans, num_classes=3).tolist() == [1, 2, -1]


Track = dict[str, TrackStore]
LENGTH = 3000


@pytest.fixture
def annotated(tmp_path: Path) -> Callable[..., GenomeCorpus]:
    """Two contigs; classes, labels and values on parts of them."""
    (tmp_path / "genome.fa").write_text(f">chr1\n{random_sequence(LENGTH)}\n>chr2\n{random_sequence(900)}\n")
    spans = [(100 * n, 100 * n + 40 + n, f"class{n % 3}") for n in range(9)]
    lines = [f"{c}\t{a}\t{b}\t{name}\n" for c in ("chr1", "chr2") for a, b, name in spans]
    (tmp_path / "classes.bed").write_text("".join(lines))
    values = [f"chr1\t{a}\t{b}\t{a / 7:.3f}\n" for a, b, _ in spans]
    (tmp_path / "values.bedgraph").write_text("".join(values))

    def make() -> GenomeCorpus:
        return GenomeCorpus(
            fasta=tmp_path / "genome.fa",
            cache=tmp_path / "cache",
            tracks={
                "kinds": IntervalClasses(files={"all": tmp_path / "classes.bed"}),
                "marks": IntervalLabels(files={"all": tmp_path / "classes.bed"}, label_by="class"),
                "level": Signal(file=tmp_path / "values.bedgraph"),
            },
        )

    return make


def data_of(
    corpus: GenomeCorpus,
    tokenizer: Tokenizer,
    *,
    micro: int = 4,
    workers: int = 0,
    targets: Sequence[str] = ("kinds", "marks", "level"),
) -> GenomeData:
    data = GenomeData(
        corpus,
        tokenizer=tokenizer,
        windows=WindowRecipe(min_tokens=5, max_tokens=40, reverse_complement=True),
        masking=Masking(),
        batch=BatchPlan(global_size=8, micro_size=micro, num_workers=workers),
        seed=1,
        targets=targets,
    )
    data.prepare_data()
    data.setup("fit")
    return data


@pytest.mark.parametrize("tokenizer", [KmerTokenizer(k=4), LogoTokenizer(k=5), EVERY["bpe"]])
def test_the_reverse_strand_reads_what_the_forward_strand_says(
    annotated: Callable[..., GenomeCorpus], tokenizer: Tokenizer
) -> None:
    genome = annotated().genome()
    window = Window(90, 190, reverse=True)
    codes = reverse_complement(np.asarray(genome.store.codes[90:190]))
    spans = spans_of(tokenizer, codes)
    found = read_targets(genome.tracks, window, spans, len(codes))
    mirrored = np.where(spans[:, :1] < spans[:, 1:], len(codes) - spans[:, ::-1], 0)
    forward = read_targets(genome.tracks, Window(90, 190, reverse=False), mirrored, len(codes))
    for name in ("kinds", "marks", "level"):
        assert np.array_equal(found[name], forward[name], equal_nan=name == "level")
    # Bases 90-99 are unknown in all tracks; on the reverse strand they are the last.
    content = np.flatnonzero(spans[:, 1] > spans[:, 0])
    assert found["kinds"][content[0]] == -1  # bases 142 to 190 are unknown too
    assert found["kinds"][content[len(content) // 2 + 5]] >= 0


def test_special_tokens_have_no_target_and_cut_windows_keep_their_bases(
    annotated: Callable[..., GenomeCorpus],
) -> None:
    tokenizer = EVERY["bpe"]  # windows are longer than 40 tokens of it, and cut
    data = data_of(annotated(), tokenizer)
    samples = data.training_samples()
    for index in range(50):
        sample = samples[index]
        wraps = [0, len(sample.ids) - 1]
        assert (sample.tracks["kinds"][wraps] == -1).all()
        assert (sample.tracks["marks"][wraps] == -1).all()
        assert np.isnan(sample.tracks["level"][wraps]).all()
        assert {len(targets) for targets in sample.tracks.values()} == {len(sample.ids)}


def test_a_batch_carries_the_targets_of_its_samples_end_to_end(
    annotated: Callable[..., GenomeCorpus],
) -> None:
    samples = [data_of(annotated(), KmerTokenizer(k=4)).training_samples()[index] for index in range(4)]
    batch = collate(samples)
    assert (batch.tracks["kinds"].dtype, batch.tracks["marks"].dtype) == (torch.int64, torch.int8)
    for name, targets in batch.tracks.items():
        parts = [sample.tracks[name] for sample in samples]
        assert np.array_equal(targets.numpy(), np.concatenate(parts), equal_nan=name == "level")
    moved = batch.to(torch.device("meta"))
    assert {targets.device.type for targets in moved.tracks.values()} == {"meta"}


def test_of_a_track_that_a_genome_has_not_nothing_is_known(annotated: Callable[..., GenomeCorpus]) -> None:
    genome = annotated().genome()
    absent = {name: AbsentTrack(track.kind, len(track.names)) for name, track in genome.tracks.items()}
    spans = spans_of(KmerTokenizer(k=4), genome.store.codes[100:200])
    there, missing = (
        read_targets(tracks, Window(100, 200, reverse=False), spans, 100)
        for tracks in (genome.tracks, absent)
    )
    for name in ("kinds", "marks", "level"):
        assert (missing[name].dtype, missing[name].shape) == (there[name].dtype, there[name].shape)
        assert is_known(torch.from_numpy(there[name])).any()
        assert not is_known(torch.from_numpy(missing[name])).any()


def batches(data: GenomeData, number: int) -> list[Batch]:
    plain = [data.training_samples()[index] for index in range(number * data.batch.micro_size)]
    size = data.batch.micro_size
    return [collate(plain[start : start + size]) for start in range(0, len(plain), size)]


@pytest.mark.parametrize("micro", [8, 4, 1])
def test_every_micro_batch_knows_the_targets_of_its_step(
    annotated: Callable[..., GenomeCorpus], micro: int
) -> None:
    whole = [count_targets(batch) for batch in batches(data_of(annotated(), KmerTokenizer(k=4), micro=8), 2)]
    data = data_of(annotated(), KmerTokenizer(k=4), micro=micro)
    counted = list(CountedSteps(batches(data, 16 // micro), 8 // micro))
    assert len(counted) == 16 // micro
    for number, batch in enumerate(counted):
        assert batch.step_targets == whole[number * micro // 8]
    assert set(whole[0]) == {MASKED_TOKENS, MASKED_BASES, "kinds", "marks", "level"}
    assert whole[0][MASKED_BASES] == 4 * whole[0][MASKED_TOKENS], "tokens of four bases"


def test_a_clade_has_its_own_tracks_where_they_are_wanted(tmp_path: Path) -> None:
    corpus = GenomeCorpus(clade=Clade(genome_bp=200_000), cache=tmp_path)
    assert corpus.genome().tracks == {}
    tracks = corpus.genome(["region", "chromatin", "conservation"]).tracks
    assert [track.kind for track in tracks.values()] == ["classes", "labels", "values"]
    assert len(tracks["chromatin"].names) == 3 * 6  # tissues and states
    assert tracks["region"].statistics.num_covered > 190_000


def test_a_track_that_is_not_there_is_named(annotated: Callable[..., GenomeCorpus], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"DATA-05 data.tracks: no track 'region'; there are kinds, marks"):
        annotated().genomes(["region"])
    several = MultispeciesCorpus(genomes={"a": tmp_path / "genome.fa"}, cache=tmp_path / "cache")
    with pytest.raises(DataError, match=r"DATA-05 data\.tracks: no track 'kinds'; there is none"):
        several.prepare(["kinds"])
    with pytest.raises(DataError, match="DATA-05"):
        several.genomes(["kinds"])


@dataclass
class Drawn:
    """What `read_targets` asks of a track."""

    kind: str
    bases: np.ndarray
    names: tuple[str, ...] = ("a", "b", "c")

    def read(self, start: int, end: int) -> np.ndarray:
        return self.bases[start:end]


@fewer
@given(
    seed=seeds, length=st.integers(1, 60), cut=st.integers(0, 59), known=st.floats(0, 1), turned=st.booleans()
)
def test_a_windows_target_is_that_of_all_its_bases(
    seed: int, length: int, cut: int, known: float, turned: bool
) -> None:
    """Against a loop over its bases, whatever its tokens; those cut off are at the end of its strand."""
    random = np.random.default_rng(seed)
    missing = random.random(80) > known
    labels = random.choice([0, 1, MISSING], (80, 3), p=[0.8, 0.1, 0.1]).astype(np.uint8)
    labels[missing] = MISSING
    tracks = {
        "kinds": Drawn("classes", np.where(missing, MISSING, random.integers(0, 3, 80)).astype(np.uint8)),
        "marks": Drawn("labels", labels),
        "level": Drawn("values", np.where(missing, np.nan, random.normal(size=80)).astype(np.float32)),
    }
    num_bases = max(1, length - cut)
    places = [10 + length - 1 - n if turned else 10 + n for n in range(num_bases)]
    of_windows = {target_name(name, "window"): track for name, track in tracks.items()}
    found = read_targets(of_windows, Window(10, 10 + length, turned), np.array([[0, 0], [0, 1]]), num_bases)  # type: ignore[arg-type]
    ours = {track_of(name): target for name, target in found.items()}
    classes = [c for c in tracks["kinds"].bases[places].tolist() if c != MISSING]
    assert ours["kinds"].tolist() == [max(range(3), key=classes.count) if classes else -1]
    told = [[v for v in labels[places, n].tolist() if v != MISSING] for n in range(3)]
    assert ours["marks"].tolist() == [[max(values, default=-1) for values in told]]
    values = [v for v in tracks["level"].bases[places].tolist() if not np.isnan(v)]
    mean = sum(values) / len(values) if values else np.nan
    assert ours["level"].tolist() == pytest.approx([mean], nan_ok=True, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("start", "end", "kind", "marks", "level"),
    [
        (90, 190, 1, [0, 1, 0], 14.286),  # class1 from 100 to 141, level 100 / 7
        (130, 230, 2, [0, 1, 1], (11 * 14.286 + 30 * 28.571) / 41),  # 11 bases of class1, 30 of class2
        (142, 199, -1, [-1, -1, -1], np.nan),  # between the two
    ],
)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("tokenizer", [KmerTokenizer(k=4), EVERY["bpe"]], ids=["kmer", "bpe"])
def test_what_tracks_say_of_a_window(
    start: int, end: int, kind: int, marks: list[int], level: float, turned: bool, tokenizer: Tokenizer,
    annotated: Callable[..., GenomeCorpus],
) -> None:  # fmt: skip
    genome = annotated().genome()
    codes = np.asarray(genome.store.codes[start:end])
    spans = spans_of(tokenizer, reverse_complement(codes) if turned else codes)
    tracks = {target_name(name, "window"): track for name, track in genome.tracks.items()}
    found = read_targets(tracks, Window(start, end, turned), spans, end - start)
    ours = [found[target_name(name, "window")].tolist() for name in ("kinds", "marks", "level")]
    assert ours[:2] == [[kind], [marks]]
    assert ours[2] == pytest.approx([level], nan_ok=True, rel=1e-5)


def test_a_batch_has_a_target_a_window_and_says_which_tokens_spell_bases(
    annotated: Callable[..., GenomeCorpus],
) -> None:
    names = [target_name(name, "window") for name in ("kinds", "marks", "level")]
    data = data_of(annotated(), KmerTokenizer(k=4), targets=("kinds", *names))
    samples = [data.training_samples()[index] for index in range(8)]
    batch = collate(samples)
    assert [tuple(batch.tracks[name].shape) for name in names] == [(8,), (8, 3), (8,)]
    assert len(batch.tracks["kinds"]) == len(batch.ids_N) == len(batch.content_N)
    special = (batch.ids_N == data.tokenizer.special.start) | (batch.ids_N == data.tokenizer.special.end)
    assert torch.equal(batch.content_N, ~special)
    assert int(batch.content_N.sum()) == batch.num_content == len(batch.ids_N) - 2 * 8
    counted = count_targets(batch)
    assert counted[names[0]] == sum(int(sample.tracks[names[0]][0] >= 0) for sample in samples)


def test_targets_of_windows_and_of_tokens_are_distinguished() -> None:
    name = target_name("region", "window")
    assert name != target_name("region", "token") == "region"
    assert track_of(name) == track_of("region") == "region"
    absent = {"region": AbsentTrack("classes", 3), name: AbsentTrack("classes", 3)}
    found = read_targets(absent, Window(0, 10), np.array([[0, 5], [5, 10]]), 10)
    assert [found[key].tolist() for key in ("region", name)] == [[-1, -1], [-1]]

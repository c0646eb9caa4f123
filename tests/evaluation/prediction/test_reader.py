"""A prediction is what the network says of a sequence alone, by the rules that it was tested by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from dnalm.data.labelled import TaskKind
from dnalm.errors import CheckpointError, ConfigError, DataError, NumericsError
from dnalm.evaluation.inference import Floats, LoadedModel
from dnalm.evaluation.prediction.reader import PredictionRecipe, Predictor
from dnalm.evaluation.variants.scoring import Prediction, Scorer, ScoringPlan, make_pair
from dnalm.genome.alphabet import Codes, reverse_complement, to_text
from dnalm.genome.store import GenomeStore
from dnalm.genome.variants import Allele
from dnalm.models import Packed, Pretrained
from tests.conftest import random_sequence
from tests.evaluation.embedding.models import sequences
from tests.evaluation.prediction.models import CLASSES, tuned

KINDS = list(CLASSES)


def slow_outputs(model: LoadedModel, codes: Codes, limit: int | None) -> Floats:
    """Logits of one strand of a sequence, in one piece or in pieces of `limit` tokens, in loops."""
    tuned_model = model.finetuned
    assert tuned_model is not None
    tokenizer, network = model.tokenizer, tuned_model.model
    ids, special = tokenizer.encode(codes), tokenizer.special
    spans = tokenizer.spans(codes, ids)
    inner = [n for n in range(len(ids)) if spans[n, 1] > spans[n, 0]]
    parts = [inner] if limit is None else np.array_split(inner, -(-len(inner) // limit))
    hidden, firsts = [], []
    with torch.no_grad():
        for part in parts:
            piece = torch.from_numpy(special.wrap(ids[part]))
            states = network.encoder(piece, Packed.from_lengths([len(piece)]))
            offset = int(special.start is not None)
            hidden.append(states[offset : offset + len(part)])
            firsts.append(states[0])
        states = torch.cat(hidden)
        if tuned_model.head.kind == "segmentation":
            covering = [
                [k for k, n in enumerate(inner) if spans[n, 0] <= base < spans[n, 1]]
                for base in range(len(codes))
            ]
            pooled = torch.stack([states[tokens].mean(0) for tokens in covering])
        elif network.head.shape.pooling == "cls":
            pooled = torch.stack(firsts).mean(0)[None]
        elif network.head.shape.pooling == "max":
            pooled = states.max(0).values[None]
        elif network.head.shape.pooling == "attention":
            assert network.head.pooling.score is not None
            weights = network.head.pooling.score(states).softmax(0)
            pooled = (weights * states).sum(0)[None]
        else:
            pooled = states.mean(0)[None]
        outputs: Floats = network.head(pooled).double().numpy()
    return outputs if tuned_model.head.kind == "segmentation" else outputs[0]


def probabilities(kind: TaskKind, outputs: Floats) -> Floats:
    if kind == "regression":
        return outputs
    if kind == "multilabel":
        return np.asarray(1 / (1 + np.exp(-outputs)))
    powers = np.exp(outputs)
    return np.asarray(powers / powers.sum(-1, keepdims=True))


@pytest.mark.parametrize("name", ["kmer", "bpe", "six_mer", "logo"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_head_s_answer_whatever_is_read_beside_it(kind: TaskKind, name: str) -> None:
    model = tuned(kind, name)
    read = sequences(16, 9, 16, 40, 13)
    predictor = Predictor([model], PredictionRecipe(batch_tokens=60))
    found = predictor.predict(read)
    for codes, values in zip(read, found, strict=True):
        expected = probabilities(kind, slow_outputs(model, codes, 22))
        np.testing.assert_allclose(values, expected, atol=1e-6)
        assert values.shape == ((len(codes), 3) if kind == "segmentation" else expected.shape)


@pytest.mark.parametrize("pooling", ["mean", "max", "cls", "attention"])
def test_pieces_of_a_long_sequence_are_pooled_together(pooling: str) -> None:
    model = tuned("multiclass", pooling=pooling, limit=7)
    codes = sequences(50)[0]
    found = Predictor([model], PredictionRecipe()).predict([codes])[0]
    np.testing.assert_allclose(found, probabilities("multiclass", slow_outputs(model, codes, 7)), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_on_both_strands_are_averaged_before_softmax(kind: TaskKind) -> None:
    model, codes = tuned(kind, average_strands=True, limit=9), sequences(31)[0]
    forward, backward = (slow_outputs(model, each, 9) for each in (codes, reverse_complement(codes)))
    backward = backward[::-1] if kind == "segmentation" else backward
    expected = probabilities(kind, (forward + backward) / 2)
    as_trained, both, alone = (
        Predictor([model], PredictionRecipe(strands=strands)).predict([codes])[0]
        for strands in ("as_trained", "both", "forward")
    )
    np.testing.assert_allclose(as_trained, expected, atol=1e-6)
    np.testing.assert_array_equal(both, as_trained)
    np.testing.assert_allclose(alone, probabilities(kind, forward), atol=1e-6)
    turned = Predictor([model], PredictionRecipe()).predict([reverse_complement(codes)])[0]
    np.testing.assert_allclose(turned[::-1] if kind == "segmentation" else turned, as_trained, atol=1e-6)


def test_values_are_in_the_unit_of_the_labels() -> None:
    plain, scaled = (tuned("regression", center=c, scale=s) for c, s in ((0.0, 1.0), (5.0, 2.0)))
    codes = sequences(15)
    standardised = Predictor([plain], PredictionRecipe()).predict(codes)[0]
    np.testing.assert_allclose(
        Predictor([scaled], PredictionRecipe()).predict(codes)[0], standardised * 2 + 5
    )


def test_probabilities_of_several_models_are_averaged_whatever_their_tokenizers() -> None:
    models = [tuned("multiclass", "kmer", seed=1), tuned("multiclass", "bpe", seed=2)]
    read = sequences(20, 30)
    each = [Predictor([model], PredictionRecipe()).predict(read) for model in models]
    together = Predictor(models, PredictionRecipe()).predict(read)
    for one, other, mean in zip(*each, together, strict=True):
        np.testing.assert_allclose(mean, (one + other) / 2, atol=1e-12)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            tuned("multilabel"),
            "PRED-02 model: tasks that differ: binary of binary0, and multilabel of multilabel0",
        ),
        (tuned("binary", classes=["no", "yes"]), "classes that differ: off, on of binary0, and no, yes of"),
    ],
)
def test_models_of_other_tasks_are_refused(other: LoadedModel, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        Predictor([tuned("binary"), other], PredictionRecipe())


def test_a_long_sequence_is_read_as_the_recipe_says() -> None:
    model, codes = tuned("binary", limit=10), sequences(40)[0]
    first = Predictor([model], PredictionRecipe(long="truncate")).predict([codes])[0]
    np.testing.assert_allclose(
        first, Predictor([model], PredictionRecipe()).predict([codes[:12]])[0], atol=1e-6
    )
    with pytest.raises(DataError, match=r"SEQ-02 sequence 0: 38 tokens; at most 10. Fix: set long=pieces"):
        Predictor([model], PredictionRecipe(long="refuse")).predict([codes])
    with pytest.raises(DataError, match=r"SEQ-01 here: .* Fix: leave it out"):
        Predictor([model], PredictionRecipe()).predict([codes[:1]], where=["here"])
    with pytest.raises(ConfigError, match="PRED-01 long: truncate, and a model that judges every base"):
        Predictor([tuned("segmentation")], PredictionRecipe(long="truncate"))


def test_a_prediction_that_is_not_finite_is_an_error() -> None:
    model = tuned("regression", scale=1.0)
    assert model.finetuned is not None
    with torch.no_grad():
        model.finetuned.model.head.output.bias.fill_(float("inf"))
    with pytest.raises(NumericsError, match="NUM-10 sequence 0: a prediction that is not finite"):
        Predictor([model], PredictionRecipe()).predict(sequences(12))


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_the_score_of_a_variant_is_the_difference_of_two_predictions(
    kind: TaskKind, make_store: Callable[[dict[str, str]], GenomeStore]
) -> None:
    store = make_store({"chr1": random_sequence(200, 1)})
    model = tuned(kind, limit=15)  # a window is read in pieces
    assert model.finetuned is not None
    score = Prediction(model.finetuned)
    plan = ScoringPlan(model=Pretrained(source="unused"), window_bp=20)
    alleles = [
        Allele(contig="chr1", start=place, ref=to_text(store.fetch("chr1", place, place + 1)), alt=alt)
        for place, alt in [(50, "ACG"), (90, "T"), (130, "G")]
    ]
    found = np.array(Scorer(model, store, [score], plan).score(alleles))
    predictor = Predictor([model], PredictionRecipe(strands="both"))
    for allele, row in zip(alleles, found, strict=True):
        pair = make_pair(store, allele, window_bp=20)
        ref, alt = predictor.predict([pair.ref.codes, pair.alt.codes])
        np.testing.assert_allclose(row, (alt - ref)[1:] if kind == "binary" else alt - ref, atol=1e-6)


def test_variants_are_not_scored_by_a_model_that_judges_bases() -> None:
    plan = ScoringPlan(model=Pretrained(source="unused"), scores=("prediction",))
    with pytest.raises(ConfigError, match="CFG-50 score: score=prediction of a model that judges every base"):
        plan.make_scores(tuned("segmentation"))

"""`import dnalm.hf` makes `transformers` know dnalm's models: its Auto classes then open every directory.

Those of BERT, ESM and ALBERT need no import. Any other has a model type that names this module; after the
import `AutoConfig`, `AutoModel` and `AutoModelForMaskedLM`, `…ForSequenceClassification` and
`…ForTokenClassification` open it without `trust_remote_code`, and give dnalm's own numbers;
`dnalm.models.modeling_dnalm` says what they compute. What `save_pretrained` of these classes writes has their
code beside it, and so opens without dnalm.
"""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from dnalm.models.modeling_dnalm import (
    DnalmConfig,
    DnalmForMaskedLM,
    DnalmForSequenceClassification,
    DnalmForTokenClassification,
    DnalmModel,
)

__all__ = [
    "DnalmConfig",
    "DnalmForMaskedLM",
    "DnalmForSequenceClassification",
    "DnalmForTokenClassification",
    "DnalmModel",
]

AutoConfig.register(DnalmConfig.model_type, DnalmConfig, exist_ok=True)
DnalmConfig.register_for_auto_class()
for _auto, _model in (
    (AutoModel, DnalmModel),
    (AutoModelForMaskedLM, DnalmForMaskedLM),
    (AutoModelForSequenceClassification, DnalmForSequenceClassification),
    (AutoModelForTokenClassification, DnalmForTokenClassification),
):
    _auto.register(DnalmConfig, _model, exist_ok=True)
    _model.register_for_auto_class(_auto.__name__)

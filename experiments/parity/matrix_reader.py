"""Opens model directories as a user of `transformers` does and compares what comes out with what is expected.

    python matrix_reader.py <cases.json> <way> <results.json>

It runs in a process of its own, with any version of `transformers`. The way is `stock` (no code of dnalm can
be imported), `registered` (after `import dnalm.hf`) or `standalone` (no code of dnalm, but
`trust_remote_code=True` for the file that lies in the directory). A case is a directory, texts, and the file
of expected arrays: `hidden.<i>`, `logits.<i>` and `task.<i>` of text i.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

_SAID = 160  # letters of an error
Case = dict[str, Any]
Expected = dict[str, Tensor]
_CLASSES = {
    "AutoModel": AutoModel,
    "AutoModelForMaskedLM": AutoModelForMaskedLM,
    "AutoModelForSequenceClassification": AutoModelForSequenceClassification,
    "AutoModelForTokenClassification": AutoModelForTokenClassification,
}


def calls_of(case: Case, way: str) -> Iterator[dict[str, str]]:
    """What each call of the textbook gives for a directory."""
    options = {"trust_remote_code": True} if way == "standalone" else {}
    expected = load_file(case["expected"])
    tokenizer = result_of(lambda: AutoTokenizer.from_pretrained(case[way], **options))
    if isinstance(tokenizer, str):
        yield {"call": "AutoTokenizer", "result": tokenizer}
        return
    ids = result_of(lambda: [tokenizer(text)["input_ids"] for text in case["texts"]])
    equal = "0" if ids == case["ids"] else f"other ids: {ids[0] if isinstance(ids, list) else ids}"[:200]
    yield {"call": "AutoTokenizer", "result": equal}
    batch = tokenizer(case["texts"], padding=True, return_tensors="pt")
    for call, opener in _CLASSES.items():
        compare = comparison(call, case, expected)
        yield {"call": call, "result": opened(opener, case[way], options, batch, compare)}


def result_of(function: Callable[[], Any]) -> Any:  # noqa: ANN401
    """What a function returns, or `refused: …` with what it raises."""
    try:
        return function()
    except Exception as error:
        return f"refused: {type(error).__name__}: {' '.join(str(error).split())[:_SAID]}"


def comparison(call: str, case: Case, expected: Expected) -> Callable[[Any, Tensor], float] | None:
    """How an output differs from what is expected; None where the directory has nothing for the call."""
    if call == "AutoModel":
        return lambda output, real_BL: of_tokens(output.last_hidden_state, real_BL, expected, "hidden")
    if call == "AutoModelForMaskedLM":
        return lambda output, real_BL: of_tokens(output.logits, real_BL, expected, "logits")
    if call.removeprefix("AutoModelFor") != case["class"]:
        return None
    return lambda output, _: of_texts(output.logits, expected)


def of_tokens(values: Tensor, real_BL: Tensor, expected: Expected, name: str) -> float:
    """The largest difference at tokens that are no padding."""
    rows = [values[row][real] for row, real in enumerate(real_BL)]
    return max(difference(found, expected[f"{name}.{row}"]) for row, found in enumerate(rows))


def of_texts(values: Tensor, expected: Expected) -> float:
    """The largest difference of a head's outputs, of texts or of their bases."""
    wanted = [expected[f"task.{row}"] for row in range(len(values))]
    return max(
        difference(found[: len(each)] if each.dim() == 2 else found, each)
        for found, each in zip(values, wanted, strict=True)
    )


def difference(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        raise ValueError(f"outputs of shape {tuple(found.shape)} where dnalm has {tuple(expected.shape)}")
    return float((found - expected).abs().max())


@torch.no_grad()
def opened(
    opener: Any,  # noqa: ANN401
    folder: str,
    options: dict[str, Any],
    batch: Any,  # noqa: ANN401
    compare: Callable[[Any, Tensor], float] | None,
) -> str:
    """The difference; `refused: …`; or, where there is nothing to compare, whether weights are drawn anew."""
    outputs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = result_of(lambda: opener.from_pretrained(folder, **options).eval())
        if isinstance(model, str):
            return model
        output = result_of(lambda: model(**batch))  # noqa: B023 -- called at once
        if isinstance(output, str):
            return output
        outputs.append(output)
        if compare is not None:
            break
    if compare is None:
        first, second = (output.logits for output in outputs)
        return "new weights" if not torch.equal(first, second) else "opens, with weights of the directory"
    found = result_of(lambda: compare(outputs[0], batch["attention_mask"].bool()))
    return found if isinstance(found, str) else f"{found:.1e}"


def main() -> None:
    """Compare all cases."""
    cases, way, results = sys.argv[1:]
    if way == "registered":
        import dnalm.hf  # noqa: F401
    else:
        sys.modules["dnalm"] = None  # type: ignore[assignment]
    logging.disable(logging.WARNING)
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = []
    for case in json.loads(Path(cases).read_text()):
        key = {"transformers": transformers.__version__, "experiment": case["experiment"]}
        key |= {"head": case["head"], "way": way}
        rows += [{**key, **row} for row in calls_of(case, way)]
    Path(results).write_text(json.dumps(rows))


if __name__ == "__main__":
    main()

"""An interpreter without dnalm and without a network: it refuses our own layout, or computes it alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dnalm.models import HeadShape, Packed, SequenceModel, TaskHead, TextTokens, save_pretrained
from dnalm.models.pretrained import MODELING_FILE
from tests.models import zoo

ARCHITECTURES = ["dnabert2", "nt_v2", "logo_released", "logo_convolved", "dnalm", "bert"]
LENGTHS = [9, 4, 1]
SCRIPT = """
import sys, json, torch, transformers
sys.modules["dnalm"] = None  # an import of it fails
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification
root, results = sys.argv[1], {}
for name in json.loads(sys.argv[2]):
    known = torch.load(f"{root}/{name}.pt", weights_only=True)
    batch = {"input_ids": known["ids"], "attention_mask": known["real"].long()}
    for door in (AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification):
        try:
            door.from_pretrained(f"{root}/safe/{name}")
            results[f"{name} {door.__name__}"] = "opened"
        except Exception as error:
            results[f"{name} {door.__name__}"] = f"{type(error).__name__}: {error}"
    with torch.no_grad():
        for door, key in ((AutoModelForMaskedLM, "logits"), (AutoModelForSequenceClassification, "answers")):
            model = door.from_pretrained(f"{root}/standalone/{name}", trust_remote_code=True).eval()
            found = model(**batch).logits
            found = found[known["real"]] if key == "logits" else found
            results[f"{name} {key}"] = float((found - known[key]).abs().max())
            model.save_pretrained(f"{root}/again")
            again = door.from_pretrained(f"{root}/again", trust_remote_code=True).eval()
            assert torch.equal(again(**batch).logits, model(**batch).logits)
json.dump(results, open(f"{root}/results.json", "w"))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    root = tmp_path_factory.mktemp("standalone")
    for name in ARCHITECTURES:
        network = SequenceModel(zoo.model(name), HeadShape(num_outputs=2, pooling="mean")).eval()
        zoo.randomize(network.head)
        head = TaskHead(
            weights=network.head.state_dict(),
            shape=network.head.shape,
            problem="single_label_classification",
            tokens=TextTokens(),
        )
        for layout in ("safe", "standalone"):
            save_pretrained(network.backbone, root / layout / name, task_head=head, layout=layout)
        ids, packed = zoo.random_ids(sum(LENGTHS)), Packed.from_lengths(LENGTHS)
        padded, real = zoo.pad(ids, LENGTHS)
        with torch.no_grad():
            known = {
                "ids": padded,
                "real": real,
                "logits": network.backbone(ids, packed, torch.arange(len(ids))),
                "answers": network(ids, packed, torch.ones_like(ids).bool(), torch.arange(3), 3),
            }
        torch.save(known, root / f"{name}.pt")
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(root / "cache"),
        "HF_MODULES_CACHE": str(root / "cache/modules"),
    }
    command = [sys.executable, "-c", SCRIPT, str(root), json.dumps(ARCHITECTURES)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, object] = json.loads((root / "results.json").read_text())
    return found


@pytest.mark.parametrize("key", ["logits", "answers"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_standalone_directory_gives_dnalms_numbers_without_dnalm(
    name: str, key: str, results: dict[str, float]
) -> None:
    assert results[f"{name} {key}"] < 1e-5


@pytest.mark.parametrize(
    "door", ["AutoConfig", "AutoModel", "AutoModelForMaskedLM", "AutoModelForSequenceClassification"]
)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_without_the_code_it_is_refused_and_says_what_to_import(
    name: str, door: str, results: dict[str, str]
) -> None:
    said = results[f"{name} {door}"]
    assert said.startswith(
        "ValueError: The checkpoint you are trying to load has model type `dnalm: import dnalm.hf`"
    )


@pytest.mark.parametrize("name", ["bert", "nt_v1", "logo"])
def test_what_stock_code_opens_needs_no_code_beside_it(name: str, tmp_path: Path) -> None:
    model = zoo.model(name, **({"position_offset": 2} if name == "nt_v1" else {}))
    written = []
    for layout in ("safe", "standalone"):
        save_pretrained(model, tmp_path / layout, layout=layout)
        written.append({path.name: path.read_bytes() for path in (tmp_path / layout).iterdir()})
    assert written[0] == written[1]
    assert MODELING_FILE not in written[1]

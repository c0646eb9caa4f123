"""A program: dnalm with no other packages than a machine with a GPU has, and the wheels of `make .whl`.

    python -m tests.integration.on_a_gpu_machine WHEELS WORD...

WHEELS is a folder of them, of which the names are read; WORD... are those of the command line.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

# As on an image of torch and its companions; httpx2 and what it needs stand for httpx, which older clients of
# the hub take
IMAGE = """
absl-py accelerate aiohappyeyeballs aiohttp aiosignal annotated-doc anyio attrs certifi charset-normalizer
click cloudpickle contourpy cycler filelock fonttools frozenlist fsspec grpcio h11 hf-xet httpcore
httpcore2 httpx httpx2 huggingface-hub hypothesis idna jinja2 joblib kiwisolver lightning-utilities
llvmlite markdown markdown-it-py markupsafe matplotlib mdurl mpmath multidict narwhals networkx numba
numpy packaging pandas peft pillow pip propcache protobuf psutil pyarrow pygments pyparsing
python-dateutil pytorch-lightning pyyaml regex requests rich safetensors scikit-learn scipy setuptools
shellingham six sniffio sympy tensorboard tensorboard-data-server threadpoolctl tokenizers torch
torchmetrics tqdm transformers truststore typer typing-extensions urllib3 werkzeug xxhash yarl
"""


class Absent(MetaPathFinder):
    """Finds no module that comes from other packages."""

    def __init__(self, packages: set[str]) -> None:
        owners = {
            module: {name.lower().replace("_", "-") for name in names}
            for module, names in packages_distributions().items()
        }
        self.modules = {module for module, names in owners.items() if not names & packages}

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> None:  # noqa: ARG002
        """Refuse such a one, and leave others to the finders after this."""
        if name.partition(".")[0] in self.modules:
            raise ModuleNotFoundError(f"not on that machine: {name}", name=name)


if __name__ == "__main__":
    wheels = {
        path.name.partition("-")[0].lower().replace("_", "-") for path in Path(sys.argv[1]).glob("*.whl")
    }
    absent = Absent({*IMAGE.split()} | wheels | {"dnalm"})
    assert {"wandb", "pysam", "optuna"} <= absent.modules, sorted(absent.modules)
    sys.meta_path.insert(0, absent)
    sys.argv = ["dnalm", *sys.argv[2:]]
    from dnalm.cli import main

    main()

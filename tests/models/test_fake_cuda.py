"""On a GPU, forward passes mix no devices, wait for nothing and keep dtypes, as far as a CPU can say."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models import zoo
from tests.models.fake_cuda import ALIBI, CASES, MASKED

ROOT = Path(__file__).resolve().parents[2]
GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
using namespace c10;
using Guard = impl::NoOpDeviceGuardImpl<DeviceType::CUDA>;
static impl::DeviceGuardImplRegistrar registrar(DeviceType::CUDA, new Guard());
"""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each case came to, in a process of its own, since the guard stays."""
    if torch.cuda.is_available():
        pytest.skip("a GPU is here, and tests/gpu asks it")
    if shutil.which("g++") is None:
        pytest.skip("building a device guard needs g++: none here")
    folder, torch_folder = tmp_path_factory.mktemp("guard"), Path(torch.__file__).parent
    (folder / "guard.cpp").write_text(GUARD)
    words = ["g++", "-shared", "-fPIC", "-std=c++20", f"-I{torch_folder / 'include'}", "guard.cpp"]
    words += ["-o", "guard.so", f"-L{torch_folder / 'lib'}", "-lc10"]
    subprocess.run(words, cwd=folder, check=True)
    program = [sys.executable, "-m", "tests.models.fake_cuda", str(folder / "guard.so")]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_family_and_kernel_is_among_them(cases: list[dict[str, Any]]) -> None:
    without_flex = len(CASES) * len(zoo.ARCHITECTURES) - sum(not dropout for _, _, dropout, _ in CASES)
    assert len(cases) == without_flex
    assert {case["kernel"] for case in cases} == {"eager", "sdpa", "varlen"}


def test_nothing_mixes_devices_or_waits_for_a_value(cases: list[dict[str, Any]]) -> None:
    assert [case for case in cases if "error" in case] == []
    assert [case for case in cases if case["crossings"]] == []


def test_shapes_and_dtypes_are_those_of_mixed_precision(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        dtype = "bfloat16" if case["bf16"] else "float32"
        found = case["shape"], case["logits"], case["loss"]
        assert found == ([MASKED, zoo.VOCAB], f"torch.{dtype} cuda", "torch.float32 cuda"), case


def test_auto_takes_what_the_table_says(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        by_lengths = case["bf16"] and not case["full"] and case["family"] != ALIBI
        auto = "varlen" if by_lengths else "sdpa"
        assert case["kernel"] == (auto if case["asked"] == "auto" else case["asked"]), case

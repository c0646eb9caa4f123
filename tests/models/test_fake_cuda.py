"""On a GPU, training steps mix no devices, wait for nothing and keep dtypes, as far as a CPU can say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models import zoo
from tests.models.fake_cuda import CASES, HEADS, LAUNCHES, MASKED, OUTPUTS

ROOT = Path(__file__).resolve().parents[2]
GUARD = """
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
using namespace c10;
struct Guard : impl::NoOpDeviceGuardImpl<DeviceType::CUDA> {  // whose own device has no number
  Device getDevice() const override { return Device(DeviceType::CUDA, 0); }
  Device exchangeDevice(Device) const override { return getDevice(); }
  Stream getStream(Device) const noexcept override { return Stream(Stream::DEFAULT, getDevice()); }
  Stream exchangeStream(Stream) const noexcept override { return getStream(getDevice()); }
  void record(void**, const Stream&, const DeviceIndex, const EventFlag) const override {}
  void block(void*, const Stream&) const override {}
};
static impl::DeviceGuardImplRegistrar registrar(DeviceType::CUDA, new Guard());
namespace at {
struct CUDAHooks : CUDAHooksInterface {  // the name that torch looks up
  CUDAHooks(CUDAHooksArgs) {}
  bool isBuilt() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return false; }
};
REGISTER_CUDA_HOOKS(CUDAHooks);
}
"""
# Kernels launched by a micro-batch of twelve layers in bf16 with kernel=auto, forward and backward, compiled
# functions counted as one; these only go down
MOST_LAUNCHES = {"bert": (321, 453), "dnabert2": (330, 452), "nt_v2": (505, 724)}


Cases = list[dict[str, Any]]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    """What each case came to, in a process of its own, since the guard stays."""
    if torch.cuda.is_available():
        pytest.skip("a GPU is here, and tests/gpu asks it")
    if torch.version.cuda is not None:
        pytest.skip("torch is built for CUDA, whose place the guard cannot take: a build for CPUs is needed")
    if shutil.which("g++") is None:
        pytest.skip("building a device guard needs g++: none here")
    folder, torch_folder = tmp_path_factory.mktemp("guard"), Path(torch.__file__).parent
    (folder / "guard.cpp").write_text(GUARD)
    words = ["g++", "-shared", "-fPIC", "-std=c++20", f"-I{torch_folder / 'include'}", "guard.cpp"]
    words += ["-o", "guard.so", f"-L{torch_folder / 'lib'}", "-lc10", "-ltorch_cpu"]
    words.append(f"-Wl,-rpath,{torch_folder / 'lib'}")
    subprocess.run(words, cwd=folder, check=True)
    program, library = [sys.executable, "-m", "tests.models.fake_cuda"], str(folder / "guard.so")
    environment = {**os.environ, "LD_PRELOAD": library}
    done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def cases(everything: Cases) -> Cases:
    """Those of models that predict tokens."""
    return [case for case in everything if "head" not in case]


def test_every_family_and_kernel_is_among_them(cases: Cases) -> None:
    assert len(cases) == len(CASES) * len(zoo.ARCHITECTURES) + len(LAUNCHES)
    assert {case["kernel"] for case in cases} == {"eager", "sdpa", "flex", "varlen"}


def test_nothing_mixes_devices_or_waits_for_a_value(everything: Cases) -> None:
    assert [case for case in everything if "error" in case] == []
    assert [case for case in everything if case["crossings"]] == []


def test_shapes_and_dtypes_are_those_of_mixed_precision(cases: Cases) -> None:
    """Every weight has a gradient, which is in its own dtype."""
    for case in cases:
        dtype = "bfloat16" if case["bf16"] else "float32"
        found = case["shape"], case["logits"], case["loss"], case["gradients"]
        expected = [MASKED, zoo.VOCAB], f"torch.{dtype} cuda", "torch.float32 cuda", ["torch.float32 cuda"]
        assert found == expected, case
        assert case["stride"] == [64, 1], "rows begin where tensor cores load"


def test_every_head_trains(everything: Cases) -> None:
    """However it pools; what predicts tokens beside it does not train."""
    heads = [case for case in everything if "head" in case]
    assert [(case["head"], case["of_bases"]) for case in heads] == HEADS
    for case in heads:
        assert case["shape"] == [40 if case["of_bases"] else 3, OUTPUTS]
        assert (case["loss"], case["gradients"]) == ("torch.float32 cuda", ["torch.float32 cuda"]), case


def test_auto_takes_what_the_table_says(cases: Cases) -> None:
    for case in cases:
        auto = "sdpa"
        if not case["full"] and case["alibi"] and not case["dropout"]:
            auto = "flex"
        if not case["full"] and not case["alibi"] and case["bf16"]:
            auto = "varlen"
        assert case["kernel"] == (auto if case["asked"] == "auto" else case["asked"]), case


@pytest.mark.parametrize("family", LAUNCHES)
def test_a_micro_batch_launches_no_more_kernels_than_it_did(family: str, cases: Cases) -> None:
    (launches,) = (case["launches"] for case in cases if case["name"] == f"published {family}")
    assert all(found <= most for found, most in zip(launches, MOST_LAUNCHES[family], strict=True)), launches

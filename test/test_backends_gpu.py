"""What only a GPU can show. `make test-gpu` runs these; each says why it is skipped where it is."""

import pytest
import torch
from backend_fixtures import SIZE

from dps_perception.inference.agreement import agreement
from dps_perception.inference.backends.devices import no_gpu
from dps_perception.inference.backends.registry import availability, onnxruntime_has_gpu
from dps_perception.inference.export import random_image
from dps_perception.inference.predictor import Predictor
from dps_perception.labels import CITYSCAPES

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason=no_gpu() or "-")]
CASES = [
    ("torch", "fp32", ""), ("torch", "fp16", ""), ("torch", "fp16", "cuda_graphs"), ("torch", "bf16", "cuda_graphs"),
    ("onnxruntime", "fp32", ""), ("onnxruntime", "fp16", ""), ("tensorrt", "fp32", ""), ("tensorrt", "fp16", ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "precision", "mode"), CASES)
@pytest.mark.timeout(600)
def test_the_same_answer_as_fp32_pytorch_and_the_memory_comes_back(name, precision, mode, small_weights, tmp_path):
    if reason := availability()[name]:
        pytest.skip(reason)
    if name == "onnxruntime" and not onnxruntime_has_gpu():
        pytest.skip("this onnxruntime is without CUDA: pip install onnxruntime-gpu")
    image = random_image(SIZE)[0]
    expected = Predictor.load(small_weights, device="cpu", precision="fp32").predict(image)
    predictor = Predictor.load(
        small_weights, backend=name, device="cuda", precision=precision, mode=mode, cache=tmp_path
    )
    predictor.warm_up()
    assert all(t.device.type == "cuda" for t in predictor.infer(predictor.prepare(image)).values())
    seen = [predictor.predict(image) for _ in range(3)]
    assert agreement(CITYSCAPES, [expected] * 3, seen).reaches(precision)
    predictor.close()
    del predictor
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    for _ in range(3):
        again = Predictor.load(
            small_weights, backend=name, device="cuda", precision=precision, mode=mode, cache=tmp_path
        )
        again.warm_up()
        again.close()
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= before + 2**21

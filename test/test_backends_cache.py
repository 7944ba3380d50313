"""The cache of exported and built files, and the processes that fill it."""

import os
from pathlib import Path

import pytest
from backend_fixtures import SIZE

from dps_perception.errors import BackendError, ConfigError, ModelLoadError
from dps_perception.inference.backends import engine_cache, prepare, registry, tensorrt_backend
from dps_perception.inference.backends.engine_cache import Key, cache_folder, cached, problem_with, run_build
from dps_perception.inference.backends.files import (
    EngineFile,
    engine_metadata,
    onnx_metadata,
    read_engine,
    write_engine,
)
from dps_perception.inference.backends.model_file import open_model
from dps_perception.inference.backends.tensorrt_runtime import TensorRT

KEY = Key("ab" * 32, SIZE, "fp16", "tensorrt_rtx", "1.7", "8.6")


def write(path, key=KEY, plan=b"plan" * 100):
    write_engine(path, EngineFile({"key": key.as_metadata(), "export": {"size": SIZE, "precision": "fp16"}}, plan))


def full(path):
    read_engine(path)
    return engine_metadata(path)


def test_an_engine_file_comes_back_as_it_was(tmp_path):
    write(tmp_path / "a.engine")
    file = read_engine(tmp_path / "a.engine")
    assert file.plan == b"plan" * 100
    assert file.metadata["key"] == KEY.as_metadata()
    assert [p.name for p in tmp_path.iterdir()] == ["a.engine"]


def spoil(path, how):
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[:-1])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "damaged":
        path.write_bytes(data[:-1] + b"!")
    elif how == "foreign":
        path.write_bytes(b"\x7fELF" + data)
    elif how == "other weights":
        write(path, Key("cd" * 32, SIZE, "fp16", "tensorrt_rtx", "1.7", "8.6"))
    elif how == "older runtime":
        write(path, Key("ab" * 32, SIZE, "fp16", "tensorrt_rtx", "1.6", "8.6"))
    elif how == "other GPU":
        write(path, Key("ab" * 32, SIZE, "fp16", "tensorrt_rtx", "1.7", "8.9"))


@pytest.mark.parametrize(
    "how", ["truncated", "empty", "damaged", "foreign", "other weights", "older runtime", "other GPU"]
)
def test_what_does_not_fit_is_built_again(how, tmp_path):
    path, said = tmp_path / KEY.file_name(".engine"), []
    builds = []

    def build(path):
        builds.append(path)
        write(path)

    for _ in range(2):  # missing, then whole: one build
        assert cached(path, problem_with(KEY, full), build, said.append) == path
    assert len(builds) == 1
    spoil(path, how)
    cached(path, problem_with(KEY, full), build, said.append)
    assert len(builds) == 2
    assert "is built again" in said[-1]
    assert read_engine(path).plan == b"plan" * 100


def test_a_build_that_makes_nothing_usable_is_an_error_not_a_loop(tmp_path):
    with pytest.raises(BackendError, match="just built and can't be used"):
        cached(tmp_path / "x.engine", problem_with(KEY, full), lambda path: path.write_bytes(b"junk"), lambda _: None)


def test_names_differ_where_anything_differs():
    keys = [
        KEY,
        Key("cd" * 32, SIZE, "fp16", "tensorrt_rtx", "1.7", "8.6"),
        Key("ab" * 32, (96, 128), "fp16", "tensorrt_rtx", "1.7", "8.6"),
        Key("ab" * 32, SIZE, "fp32", "tensorrt_rtx", "1.7", "8.6"),
        Key("ab" * 32, SIZE, "fp16", "tensorrt", "1.7", "8.6"),
        Key("ab" * 32, SIZE, "fp16", "tensorrt_rtx", "1.8", "8.6"),
        Key("ab" * 32, SIZE, "fp16", "tensorrt_rtx", "1.7", "8.9"),
    ]
    assert len({key.file_name(".engine") for key in keys}) == len(keys)


def test_a_folder_that_can_not_be_written_names_the_cure(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(engine_cache.FOLDER_VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match=r"can't be written.*DPS_PERCEPTION_CACHE"):
        cache_folder()


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(engine_cache.FOLDER_VARIABLE, raising=False)
    assert cache_folder() == tmp_path / "dps_perception"
    monkeypatch.setenv(engine_cache.FOLDER_VARIABLE, str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert cache_folder(tmp_path / "named") == tmp_path / "named"


def module(tmp_path, monkeypatch, body):
    (tmp_path / "a_build.py").write_text(body)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return "a_build"


def test_a_build_tells_how_it_goes_and_gets_its_arguments(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_cache, "REPORT_EVERY_S", 0.05)
    gate, said = tmp_path / "gate", []

    def progress(text):
        said.append(text)
        if "so far" in text:
            gate.touch()

    body = (
        "import pathlib, sys\ngate, out = map(pathlib.Path, sys.argv[1:])\nwhile not gate.exists(): pass\nout.touch()"
    )
    run_build("work", module(tmp_path, monkeypatch, body), [str(gate), str(tmp_path / "out")], progress)
    assert (tmp_path / "out").exists()
    assert said[0] == "work ..."
    assert said[-1].startswith("work: done in")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; sys.exit('error: disk full')", "work failed: disk full"),
        ("import os; os.kill(os.getpid(), 9)", r"work failed: it was ended by SIGKILL \(out of memory\?\)"),
    ],
)
def test_a_build_that_fails_says_why(body, message, tmp_path, monkeypatch):
    with pytest.raises(BackendError, match=message):
        run_build("work", module(tmp_path, monkeypatch, body), [], lambda _: None)


def test_weights_are_exported_into_the_cache_once(small_weights, small_onnx, tmp_path, monkeypatch):
    calls = []

    def run(what, name, arguments, progress):
        calls.append((name, arguments))
        Path(arguments[arguments.index("--output") + 1]).write_bytes(small_onnx.read_bytes())

    monkeypatch.setattr(prepare, "run_build", run)
    paths = {prepare.onnx_for(open_model(small_weights), SIZE, "fp32", tmp_path, None) for _ in range(2)}
    assert len(calls) == 1
    (path,) = paths
    assert onnx_metadata(path)["key"]["weights_sha256"] == open_model(small_weights).info.weights_sha256
    assert calls[0][0] == "dps_perception.inference.export_cli"


def test_an_engine_is_built_into_the_cache_once(small_onnx, tmp_path, monkeypatch):
    model, runtime = open_model(small_onnx), TensorRT(None, "tensorrt_rtx", "1.7")
    builds = []

    def build(source, path, runtime, gpu, progress):
        builds.append(source)
        write(path, Key(model.info.weights_sha256, SIZE, "fp32", runtime.name, runtime.version, gpu))

    monkeypatch.setattr(prepare, "build_apart", build)
    for _ in range(2):
        path = prepare.engine_for(model, SIZE, "fp32", runtime, "8.6 NVIDIA RTX A5000", tmp_path, None)
    assert builds == [small_onnx]
    assert path.name.endswith("_64x128_fp32_tensorrt_rtx_1.7_8.6-NVIDIA-RTX-A5000.engine")


def test_an_engine_that_the_runtime_refuses_is_built_again_once(small_onnx, tmp_path, monkeypatch):
    builds, opened = [], []

    def engine(model, *_):
        path = tmp_path / "x.engine"
        if not path.exists():
            builds.append(path)
            write(path)
        return path

    class Backend:
        def __init__(self, path, *_):
            opened.append(path)
            if len(opened) == 1:
                raise ModelLoadError("tensorrt_rtx refuses x.engine")

    monkeypatch.setattr(registry, "require", lambda name: None)
    monkeypatch.setattr(registry, "find_tensorrt", lambda mode: TensorRT(None, "tensorrt_rtx", "1.7"))
    monkeypatch.setattr(registry, "own_gpu", lambda *_: "8.6")
    monkeypatch.setattr(registry, "engine_for", engine)
    monkeypatch.setattr(tensorrt_backend, "TensorRTBackend", Backend)
    said = []
    registry.open_backend("tensorrt", open_model(small_onnx), progress=said.append)
    assert (len(builds), len(opened)) == (2, 2)
    assert said == ["tensorrt_rtx refuses x.engine; it is built again"]

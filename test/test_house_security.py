"""Nothing of the package runs what a file or a message says: found by reading every module."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "dps_perception"
UNPICKLERS = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle"}
RUNS_CODE = {"eval", "exec", "compile"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
YAML_LOADERS = {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all"}
NUMPY_LOADERS = {"np.load", "numpy.load"}
TORCH_LOADERS = {"torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"}


def dotted(node):
    """ "a.b.c" of a name or attribute, "" of anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def is_constant(call, keyword, value):
    return any(k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is value for k in call.keywords)


def dangers(source):
    """(line, what) of all that could run code or unpickle."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name.partition(".")[0] in UNPICKLERS:
                    yield node.lineno, f"imports {name}"
        elif isinstance(node, ast.Call):
            name = dotted(node.func)
            if name in RUNS_CODE | SHELLS | YAML_LOADERS or name in TORCH_LOADERS - {"torch.load"}:
                yield node.lineno, name
            if name == "torch.load" and not is_constant(node, "weights_only", True):
                yield node.lineno, "torch.load without weights_only=True"
            if name in NUMPY_LOADERS and not is_constant(node, "allow_pickle", False):
                yield node.lineno, "np.load without allow_pickle=False"
            if any(
                k.arg == "shell" and not (isinstance(k.value, ast.Constant) and not k.value.value)
                for k in node.keywords
            ):
                yield node.lineno, "shell=True"
            if any(
                k.arg in ("trust_remote_code", "allow_pickle") and not is_constant(node, k.arg, False)
                for k in node.keywords
            ):
                yield node.lineno, "trusts what it reads"
            if name.endswith(".read_pickle") or name.endswith("Unpickler"):
                yield node.lineno, name


def modules():
    return [*PACKAGE.rglob("*.py"), *(ROOT / "launch").glob("*.py"), *(ROOT / "tools").rglob("*.py"), ROOT / "setup.py"]


def test_nothing_unpickles_evaluates_or_calls_a_shell():
    assert len(modules()) > 100
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}" for path in modules() for line, what in dangers(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle", "from pickle import loads", "def f():\n    import dill", "import torch\ntorch.load(p)",
        "torch.load(p, weights_only=False)", "np.load(p)", "np.load(p, allow_pickle=True)", "yaml.load(s)",
        "yaml.load(s, Loader=yaml.Loader)", "eval(s)", "exec(s)", "subprocess.run(c, shell=True)",
        "subprocess.run(c, shell=maybe)", "os.system(c)", "torch.hub.load(a, b)", "pd.read_pickle(p)",
        "f(x, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_the_search_finds_it(source):
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source",
    ["torch.load(p, weights_only=True)", "np.load(p, allow_pickle=False)", "yaml.safe_load(s)", "network.eval()",
     "re.compile(s)", "torch.compile(n)", "subprocess.run([c], shell=False)"],
)  # fmt: skip
def test_the_search_leaves_the_rest_alone(source):
    assert list(dangers(source)) == []


def test_every_trainer_resumes_without_unpickling():
    """Lightning reads the checkpoint there, not torch.load in our code."""
    fits = [
        node
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and any(k.arg == "ckpt_path" for k in node.keywords)
    ]
    assert fits
    assert all(is_constant(call, "weights_only", True) for call in fits)

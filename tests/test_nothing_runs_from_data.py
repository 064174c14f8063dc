"""No code comes out of a store or a data set: the calls that could let it are nowhere in the package."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

FILES = sorted(path for folder in ("gru_bench", "hydra_plugins") for path in (REPOSITORY / folder).rglob("*.py"))
FORBIDDEN = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "marshal.load",
    "marshal.loads",
    "shelve.open",
    "joblib.load",
    "dill.load",
    "dill.loads",
    "cloudpickle.load",
    "cloudpickle.loads",
    "pd.read_pickle",
    "pandas.read_pickle",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
    "mlflow.pytorch.load_model",
    "mlflow.pyfunc.load_model",
}

OWN_MESSAGES = {"gru_bench/run/workers.py": ["pickle.loads(Path(path).read_bytes())"]}
"""What a driver tells its own workers, in a folder of its own that nobody else can write to: neither store nor data."""


def dangerous(source: str) -> Iterator[str]:
    """The calls of a source that could run code that lies in what they read."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if (
            name in FORBIDDEN
            or (name == "torch.load" and keywords.get("weights_only") != "True")
            or (name in ("np.load", "numpy.load") and keywords.get("allow_pickle", "False") != "False")
            or (name == "yaml.load" and keywords.get("Loader") != "yaml.SafeLoader")
            or keywords.get("trust_remote_code", "False") != "False"
            or keywords.get("shell", "False") != "False"
        ):
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_call_runs_what_it_reads(path: Path) -> None:
    found = [line.partition(": ")[2] for line in dangerous(path.read_text(encoding="utf-8"))]
    assert found == OWN_MESSAGES.get(str(path.relative_to(REPOSITORY)), [])


def test_there_are_files() -> None:
    assert len(FILES) > 100


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.load(file)",
        "eval(text)",
        "yaml.load(text, yaml.Loader)",
        "datasets.load_dataset(name, trust_remote_code=True)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
    ],
)
def test_the_rule_itself_can_fail(source: str) -> None:
    assert list(dangerous(source))


@pytest.mark.parametrize("source", ["torch.load(path, weights_only=True)", "model.eval()", "yaml.safe_load(text)"])
def test_what_is_safe_is_allowed(source: str) -> None:
    assert not list(dangerous(source))

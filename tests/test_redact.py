"""No form of a password or token survives."""

import io
import re

import pytest

from gru_bench import redact
from gru_bench.redact import Redacting, redacted, remember, without_secrets

URIS = [
    "postgresql://me:{}@host/db",
    "postgresql://:{}@host/db",
    "postgresql://{}@host/db",
    "postgresql+psycopg2://me:{}@host:5432/db",
    "postgresql+psycopg2://me:{}@/db?host=/var/run",
    "postgresql+asyncpg://me:{}@[::1]:5432/db",
    "mysql+pymysql://me:{}@host/db?charset=utf8",
    "mysql+pymysql://me:{}@host/db?read_default_file=/home/me@here",
    "mssql+pyodbc://me:{}@host/db?driver=ODBC+Driver+18",
    "mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BUID%3Dme%3BPWD%3D{}",
    "mssql+pyodbc:///?odbc_connect=DRIVER=x;UID=me;PWD={}",
    "http://me:{}@host:5000",
    "https://me:{}@host/path/of/it#/experiments/1",
    "https://{}@host",
    "https://host/?token={}",
    "https://host/path?api_key={}",
    "https://host/?apikey={}&x=1",
    "https://host/?x=1&access_key={}",
    "https://host/?access_token={}#end",
    "https://host/?X-Amz-Signature={}&X-Amz-Date=1",
    "https://host/?X-Amz-Security-Token={}",
    "https://account.blob.core.windows.net/x?sv=1&sig={}",
    "https://host/?AWSAccessKeyId={}",
    "https://host/?client_secret={}",
    "https://host/?auth={}",
    "postgresql:///db?user=me&password={}",
    "postgresql://host/db?user=me&password={}&sslmode=require",
    "postgresql://host/db?sslmode=require&sslpassword={}",
    "mysql://host/db?passwd={}",
    "POSTGRESQL://me:{}@host/db",
    "jdbc:mysql://me:{}@host/db",
    "databricks://profile:{}@workspace",
    "s3://key:{}@bucket/folder",
    "redis://:{}@host:6379/0",
]
PASSWORDS = [
    "sEcrEt",
    "p/a/sEcrEt",
    "p@sEcrEt",
    "@/:sEcrEt",
    "p%40%2FsEcrEt",
    "s?#p=sEcrEt",
    "ü'sEcrEt",
    'a"sEcrEt',
    "12/sEcrEt",
]
AROUND = [
    "{}",
    "tracking.uri={} seed=1,2",
    "cannot connect to '{}': refused",
    '{{"uri": "{}"}}',
    "uri: {}\nnext: 1",
    "({}).",
]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("uri", URIS)
def test_no_password_survives_in_any_form_of_a_uri(uri: str, around: str) -> None:
    for password in PASSWORDS:
        if uri == "https://{}@host" and re.match("[^:@]*[/?]", password):
            continue  # to every reader of URLs the host ends there
        shown = without_secrets(around.format(uri.format(password)))
        assert "sEcrEt" not in shown, (password, shown)
        assert "***" in shown


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:////home/me@work/mlflow.db",
        "sqlite:///mlflow.db",
        "http://127.0.0.1:5000/#/experiments/1",
        "http://host:5000: cannot connect (refused)",
        "https://pypi.org/project/name@1.0",
        "tokens=5 model.input=tokens task.num_keys=4 max_tokens=3",
        "data.text=text data.label=label seed=0,1",
        "file:///home/me/mlartifacts/1/ab",
        "a key: b; the token: c",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "connection to host=h user=me password=sEcrEt dbname=x failed",
        "password='sEcrEt two' host=h",
        "{'password': 'sEcrEt', 'host': 'h'}",
        "Authorization: Bearer sEcrEt-abc.def",
        "{'Authorization': 'Basic c0VjckV0sEcrEt='}",
        "DRIVER=x;UID=me;PWD=sEcrEt;",
        "AWS_SECRET_ACCESS_KEY=sEcrEt gru-bench train",
        "HF_TOKEN=sEcrEt gru-bench train",
    ],
)
def test_no_value_survives_after_its_key(text: str) -> None:
    assert "sEcrEt" not in without_secrets(text)


@pytest.mark.parametrize(
    "name", ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "WANDB_API_KEY"]
)
def test_a_secret_of_the_environment_survives_nowhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "long/enough+ value")
    assert without_secrets("it is 'long/enough+ value'.") == "it is '***'."
    assert "enough" not in without_secrets("or long%2Fenough%2B%20value or long%2Fenough%2B+value")


def test_what_is_short_or_named_otherwise_is_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", "true")
    monkeypatch.setenv("PWD", "/home/of-me")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "parallelism")
    assert without_secrets("true /home/of-me parallelism") == "true /home/of-me parallelism"


def test_a_password_is_known_without_its_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "_remembered", set())
    remember("postgresql://me:a%40long%2Fone@host/db")
    remember("postgresql:///db?password=another-long-one")
    remember("sqlite:////home/me@here/some.db")
    assert without_secrets("FATAL: a@long/one, another-long-one") == "FATAL: ***, ***"
    assert without_secrets("/home/me@here/some.db") == "/home/me@here/some.db"


def test_nested_values_keep_their_shape() -> None:
    value = {"a": ["x://u:p@h", 1, None], "password": "short", "b": ("x", {"c": True})}
    assert redacted(value) == {"a": ["x://***@h", 1, None], "password": "***", "b": ("x", {"c": True})}


def test_what_is_printed_steers_no_terminal() -> None:
    stream = io.StringIO()
    Redacting(stream).write("a\x1b[2J\tb\u202e\ud800\n")
    assert stream.getvalue() == "a\\x1b[2J\tb\\u202e\\ud800\n"

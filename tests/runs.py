"""Settings of the smallest runs, and what the store holds of them."""

from gru_bench.store import read as results
from gru_bench.store.read import Results

TINY = [
    "task=adding",
    "task.lengths=[5]",
    "task.beyond=[]",
    "task.num_eval=16",
    "task.batch_size=8",
    "hidden_size=6",
    "threads=1",
]
STEPS = ["trainer.max_steps=6", "trainer.eval_every=3"]
URI = "sqlite:///mlflow.db"


def stored(experiment: str = "adhoc") -> Results:
    return results.read(URI, experiment=experiment)

"""What tells two settings of one cell apart, in words."""

from gru_bench.store.settings import differing


def test_only_what_differs_is_told() -> None:
    configs = {
        "a": {"trainer.max_steps": "100", "model.dropout": "0.0", "seed": "0", "cell._target_": "x"},
        "b": {"trainer.max_steps": "200", "model.dropout": "0.0", "seed": "1", "cell._target_": "y"},
        "c": {"trainer.max_steps": "200", "model.dropout": "0.5", "seed": "1", "cell.init": "keras"},
    }
    assert differing(configs) == {
        "a": "model.dropout=0.0, trainer.max_steps=100",
        "b": "model.dropout=0.0, trainer.max_steps=200",
        "c": "cell.init=keras, model.dropout=0.5, trainer.max_steps=200",
    }


def test_equal_configs_and_columns_of_their_own_are_not_told() -> None:
    same = {
        "seed": "0",
        "trainer.learning_rate": "0.1",
        "backend._target_": "Loop",
        "budget.reference._partial_": "True",
    }
    other = {"seed": "1", "trainer.learning_rate": "0.2", "backend._target_": "Vendor"}
    assert differing({"a": same, "b": other}) == {"a": "", "b": ""}
    assert differing({}) == {}

"""In what settings of one cell differ, in words."""

from gru_bench.store.differences import differing


def test_only_what_differs_is_named() -> None:
    configs = {
        "a": {"trainer.max_steps": "100", "model.dropout": "0.0", "seed": "0", "cell._target_": "x"},
        "b": {"trainer.max_steps": "200", "model.dropout": "0.0", "seed": "1", "cell._target_": "x"},
        "c": {"trainer.max_steps": "200", "model.dropout": "0.5", "seed": "1", "cell._target_": "x", "cell.init": "k"},
    }
    assert differing(configs) == {
        "a": "model.dropout=0.0, trainer.max_steps=100",
        "b": "model.dropout=0.0, trainer.max_steps=200",
        "c": "cell.init=k, model.dropout=0.5, trainer.max_steps=200",
    }


def test_equal_configs_and_columns_of_their_own_are_not_named() -> None:
    same = {
        "seed": "0",
        "trainer.learning_rate": "0.1",
        "backend._target_": "Loop",
        "budget.reference._partial_": "True",
    }
    other = {"seed": "1", "trainer.learning_rate": "0.2", "backend._target_": "Vendor"}
    assert differing({"a": same, "b": other}) == {"a": "", "b": ""}
    assert differing({"a": {}, "b": same}) == {"a": "", "b": ""}
    assert differing({}) == {}


MEAN = {"model.pooling._target_": "gru_bench.models.pooling.Mean", "model.pooling.axis": "0"}
LAST = {"model.pooling._target_": "gru_bench.models.pooling.LastState", "model.pooling.of": "top"}


def test_another_class_is_its_node_and_its_name() -> None:
    """What only one of the classes takes follows from the class."""
    assert differing({"a": MEAN, "b": LAST}) == {"a": "model.pooling=Mean", "b": "model.pooling=LastState"}


def test_options_are_compared_within_a_class() -> None:
    configs = {"a": MEAN, "b": LAST, "c": LAST | {"model.pooling.of": "all"}}
    assert differing(configs) == {
        "a": "model.pooling=Mean",
        "b": "model.pooling=LastState, model.pooling.of=top",
        "c": "model.pooling=LastState, model.pooling.of=all",
    }


def test_a_class_that_moved_is_the_same_class() -> None:
    old, new = ({"task._target_": f"gru_bench.{room}.SentimentTask"} for room in ("tasks.sentiment", "tasks.text.one"))
    assert differing({"old": old, "new": new}) == {"old": "", "new": ""}


def test_a_class_that_a_fact_names_is_not_named_again_but_its_options_are() -> None:
    adam = {"trainer._target_": "Trainer", "trainer.optimizer._target_": "torch.optim.Adam"}
    sgd = adam | {"trainer.optimizer._target_": "torch.optim.SGD", "trainer.optimizer.momentum": "0.0"}
    assert differing({"a": adam, "b": sgd}) == {"a": "", "b": ""}
    heavy = sgd | {"trainer.optimizer.momentum": "0.9"}
    assert differing({"a": adam, "b": sgd, "c": heavy}) == {
        "a": "",
        "b": "trainer.optimizer.momentum=0.0",
        "c": "trainer.optimizer.momentum=0.9",
    }


def test_an_optimizer_that_was_a_word_is_still_named() -> None:
    """As runs have it that were stored before the optimizer had a node of its own."""
    assert differing({"a": {"trainer.optimizer": "adam"}, "b": {"trainer.optimizer": "sgd"}}) == {
        "a": "trainer.optimizer=adam",
        "b": "trainer.optimizer=sgd",
    }


def test_a_key_of_one_backend_is_told_unless_it_follows_from_the_backends_name() -> None:
    bptt = {"backend": "bptt", "backend._target_": "BPTT", "backend.chunk": "None"}
    vendor = {"backend": "vendor", "backend._target_": "Vendor", "backend.onednn": "True"}
    aten = {"backend": "vendor_aten", "backend._target_": "Vendor", "backend.onednn": "False"}
    configs = {"a": bptt, "b": bptt | {"backend.chunk": "8"}, "c": vendor, "d": aten}
    assert differing(configs) == {"a": "backend.chunk=None", "b": "backend.chunk=8", "c": "", "d": ""}

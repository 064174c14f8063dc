"""gru_bench.nn in many threads and in other processes."""

import os
import threading
import time
import warnings

import pytest
import torch
from nn_modules import D, made_input, needs_native, pair
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

pytestmark = needs_native


class Encoded(Dataset[Tensor]):
    """Rows that are made by one of our modules."""

    def __init__(self) -> None:
        _, self.module = pair("gru", hidden_size=300)  # its outputs lie in memory that is used again

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        with torch.no_grad():
            return self.module(torch.full((200, 1, D), float(index), dtype=torch.float64))[0]


def test_many_threads_call_one_module() -> None:
    _, module = pair("lstm", num_layers=2)
    inputs = [made_input("batch") * scale for scale in range(1, 9)]
    expected = [[t.clone() for t in torch.autograd.grad(module(x)[0].sum(), list(module.parameters()))] for x in inputs]
    with torch.no_grad():
        of_steps = [module(x[:1])[0].clone() for x in inputs]
    wrong: list[object] = []

    def work(number: int) -> None:
        for _ in range(20):
            found = torch.autograd.grad(module(inputs[number])[0].sum(), list(module.parameters()))
            with torch.no_grad():
                step = module(inputs[number][:1])[0]
            same = all(torch.equal(mine, one) for mine, one in zip(found, expected[number], strict=True))
            if not (same and torch.equal(step, of_steps[number])):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_process_that_is_forked_after_use() -> None:
    _, module = pair("gru", num_layers=2)
    x = made_input("batch")
    expected = module(x)[0].detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of a fork beside threads
        child = os.fork()
    if child == 0:  # exit codes: nothing of pytest may run here
        torch.set_num_threads(1)
        out = module(x)[0]
        out.sum().backward()
        os._exit(7 if torch.equal(out, expected) and module.kernel().startswith("native ") else 1)
    patience = time.monotonic() + 120
    done, status = 0, 0
    while not done and time.monotonic() < patience:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not done:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_of_a_data_loader(start: str) -> None:
    data = Encoded()
    expected = [data[index].clone() for index in range(4)]
    found = list(DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context=start))
    assert all(torch.equal(mine, one) for mine, one in zip(found, expected, strict=True))

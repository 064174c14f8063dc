"""A cell of a user's own package, of a family that nobody here knows: one file and one yaml, then everything works."""

from pathlib import Path

import pytest
from conftest import Command

CELL = '''
import torch
import torch.nn.functional as F

from gru_bench.cells.base import Cell


class MGU(Cell):
    """The minimal gated unit (Zhou et al., 2016, arXiv:1603.09420): one gate, which forgets and resets."""

    family = "mgu"
    gates = ("f", "n")

    def step(self, gx_BG, state):
        (h_BH,) = state
        U_f, U_n = self.U.chunk(2)
        gx_f, gx_n = gx_BG.chunk(2, dim=1)
        f_BH = torch.sigmoid(gx_f + F.linear(h_BH, U_f))
        n_BH = torch.tanh(gx_n + F.linear(f_BH * h_BH, U_n))
        h_BH = (1 - f_BH) * h_BH + f_BH * n_BH
        return h_BH, (h_BH,)
'''
YAML = """
# minimal gated unit
_target_: own_cells_of_a_test.MGU
init: uniform
"""


@pytest.fixture
def own(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder for ``--config-dir``, beside a package on the path."""
    (empty_folder / "own_cells_of_a_test.py").write_text(CELL)
    monkeypatch.syspath_prepend(empty_folder)
    folder = empty_folder / "own"
    (folder / "cell").mkdir(parents=True)
    (folder / "cell" / "mgu.yaml").write_text(YAML.lstrip())
    return str(folder)


def test_a_cell_of_another_family_from_the_command_line_to_the_report(
    gru_bench: Command, empty_folder: Path, own: str
) -> None:
    data = ["task=adding", "task.lengths=[5]", "task.beyond=[6]", "task.num_eval=10"]
    limits = ["hidden_size=4", "trainer.max_steps=2", "trainer.eval_every=1", "threads=1"]
    assert gru_bench("train", "-m", "--config-dir", own, "cell=gru,mgu", *data, *limits) == 0
    assert gru_bench("report", "experiment=adhoc") == 0
    (report,) = empty_folder.glob("reports/*/report.md")
    assert "| mgu" in report.read_text()

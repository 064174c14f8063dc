"""``GRU``, ``LSTM`` and ``RNN`` with the signature, weights and meaning of ``torch.nn``'s, compiled for the CPU.

Importing this needs torch and numpy alone. See ``docs/modules.md``.
"""

from gru_bench.nn.modules import GRU, LSTM, RNN

__all__ = ["GRU", "LSTM", "RNN"]

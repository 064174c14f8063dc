"""Which class of algorithm cuDNN took, from the names of the CUDA kernels that ran.

cuDNN is closed, so this rests on profiles that others have published:

- ``RNN_blockPersist_{fp,bp}_{RNN,LSTM,GRU}``, also with ``_HMMA`` at the end (A100, A10, RTX 50; cuDNN 8.9 to 9.24;
  float32 and float16): one launch per layer. torch asks for CUDNN_RNN_ALGO_PERSIST_STATIC_SMALL_H there (hidden sizes
  up to 128 .. 384: use_rnn_persist_small_h in ATen/native/cudnn/RNN.cpp), forward and backward by limits of their own.
- ``RNN_persist_fp``, with template arguments (V100, float16, where torch asked for CUDNN_RNN_ALGO_PERSIST_STATIC).
- ``RNN_persist_fprop`` (extern "C", written for the run-time compiler): CUDNN_RNN_ALGO_PERSIST_DYNAMIC. torch 2 never
  asks for it, so seeing it would be news.
- ``elemWiseRNNcell``, ``LSTM_elementWise_fp`` and ``{RNN,LSTM,GRU}_elementWise_bp1``: a step's gates in the standard
  algorithm, between its products. ``GENERIC_elementWise_bp2`` and ``persistRNN_addBias`` (biases) run beside several
  and reveal nothing.
"""

from collections.abc import Iterable

CLASSES = (
    ("RNN_persist_fprop", "persistent dynamic", True),
    ("RNN_persist_bprop", "persistent dynamic", False),
    ("RNN_blockPersist_fp", "persistent static", True),
    ("RNN_blockPersist_bp", "persistent static", False),
    ("RNN_persist_fp", "persistent static", True),
    ("RNN_persist_bp", "persistent static", False),
    ("elemWiseRNNcell", "standard", True),
    ("_elementWise_fp", "standard", True),
    ("_elementWise_bp1", "standard", False),
)
"""A part of a kernel's name, the class of algorithm, and whether it is of the forward pass; in the order of trial."""


def cudnn_name(kernels: Iterable[str]) -> str:
    """``cuDNN`` with its class of algorithm, from the names of the CUDA kernels that ran.

    ``cuDNN persistent static`` (or ``persistent dynamic``, ``standard``); ``cuDNN persistent static, backward
    standard`` where the two passes differ; ``cuDNN`` alone where no name is known, or none was seen.
    """
    passes: dict[bool, list[str]] = {True: [], False: []}
    for kernel in kernels:
        for part, algorithm, is_forward in CLASSES:
            if part in kernel:
                passes[is_forward].append(algorithm)
                break
    forward, backward = (" + ".join(sorted(set(passes[is_forward]))) for is_forward in (True, False))
    if not forward or not backward or forward == backward:
        return f"cuDNN {forward or backward}".strip()
    return f"cuDNN {forward}, backward {backward}"

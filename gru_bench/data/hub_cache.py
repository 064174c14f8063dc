"""Whether ``datasets`` can write to its caches: it has many errors for that, most of which blame the data."""

import tempfile
from pathlib import Path

from gru_bench.errors import UserError


def refuse_unwritable_cache(local: bool) -> None:
    """Blame the cache, where it is to blame.

    Args:
        local: Whether the data is on this machine, so that nothing is fetched.

    Raises:
        UserError: A folder of the cache cannot be written.
    """
    import datasets
    import huggingface_hub

    folders = {"HF_DATASETS_CACHE": datasets.config.HF_DATASETS_CACHE}
    folders |= {} if local else {"HF_HUB_CACHE": huggingface_hub.constants.HF_HUB_CACHE}
    for name, folder in folders.items():
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"0")
        except OSError as error:
            raise UserError(
                f"{name}={folder}: this cache of Hugging Face cannot be written ({error.strerror or error}); "
                "set HF_HOME to a folder that can be"
            ) from error

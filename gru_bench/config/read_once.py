"""Has Hydra read each yaml once for all jobs of a sweep: else that takes a third of the composing of a job."""

import copy
from typing import Any, Self

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigResult


class ReadOnce(ConfigRepository):
    """Hydra's repository of yaml files, with what was read of each. A yaml that changes meanwhile changes no job."""

    def __init__(self, search_path: ConfigSearchPath) -> None:
        self.read: dict[str, ConfigResult | None] = {}
        super().__init__(search_path)

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Look in other places from now on."""
        super().initialize_sources(config_search_path)
        self.read = {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A copy of what a yaml holds, since Hydra goes on to change it; None where there is none."""
        if config_path not in self.read:
            self.read[config_path] = super().load_config(config_path)
        return copy.deepcopy(self.read[config_path])

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Hydra composes each job with a copy, which may come to look elsewhere. What was read is shared until then."""
        twin = object.__new__(type(self))
        twin.sources, twin.read = copy.deepcopy(self.sources, memo), self.read
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which reads for itself."""
        return {**self.__dict__, "read": {}}


def read_once(loader: ConfigLoader) -> None:
    """From now on, this loader reads each yaml once. One that Hydra did not make is left as it is."""
    if isinstance(loader, ConfigLoaderImpl):
        loader.repository = ReadOnce(loader.config_search_path)

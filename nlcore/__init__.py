"""Learning with noisy labels: TSSD and Anchor Hallucination, small and explicit.

>>> import nlcore
>>> result = nlcore.train(nlcore.TrainConfig(dataset="digits", noise="symmetric", rate=0.4, method="tssd"))
>>> result.last
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nlcore.basics import VERSION as __version__

if TYPE_CHECKING:
    from nlcore.audit.classifier import NoisyLabelClassifier
    from nlcore.audit.issues import find_label_issues
    from nlcore.basics.errors import DivergenceError, InputError
    from nlcore.data.datasets import Dataset, load_dataset
    from nlcore.noise.labels import NoisyLabels
    from nlcore.training.clean_model import corrupt
    from nlcore.training.config import TrainConfig
    from nlcore.training.result import Result
    from nlcore.training.run import train

# Each name is imported when it is first asked for: who uses one wing does not wait for the others to load.
_HOMES = {
    "Dataset": "data.datasets",
    "DivergenceError": "basics.errors",
    "InputError": "basics.errors",
    "NoisyLabelClassifier": "audit.classifier",
    "NoisyLabels": "noise.labels",
    "Result": "training.result",
    "TrainConfig": "training.config",
    "corrupt": "training.clean_model",
    "find_label_issues": "audit.issues",
    "load_dataset": "data.datasets",
    "train": "training.run",
}

__all__ = [
    "Dataset",
    "DivergenceError",
    "InputError",
    "NoisyLabelClassifier",
    "NoisyLabels",
    "Result",
    "TrainConfig",
    "__version__",
    "corrupt",
    "find_label_issues",
    "load_dataset",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Learning with noisy labels: TSSD and Anchor Hallucination, small and explicit.

>>> import nlcore
>>> result = nlcore.train(nlcore.TrainConfig(dataset="digits", noise="symmetric", rate=0.4, method="tssd"))
>>> result.last
"""

__version__ = "0.1.0"

from nlcore.config import TrainConfig
from nlcore.corruption import corrupt
from nlcore.datasets import Dataset, load_dataset
from nlcore.errors import DivergenceError, InputError
from nlcore.labels import NoisyLabels
from nlcore.results import Result
from nlcore.training import train

__all__ = [
    "Dataset",
    "DivergenceError",
    "InputError",
    "NoisyLabels",
    "Result",
    "TrainConfig",
    "corrupt",
    "load_dataset",
    "train",
]

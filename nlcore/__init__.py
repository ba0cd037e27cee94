"""Learning with noisy labels: TSSD and Anchor Hallucination, small and explicit.

>>> import nlcore
>>> result = nlcore.train(nlcore.TrainConfig(dataset="digits", noise="symmetric", rate=0.4, method="tssd"))
>>> result.last
"""

from nlcore.basics.errors import DivergenceError, InputError
from nlcore.basics.machine import VERSION as __version__
from nlcore.clean_model import corrupt
from nlcore.config import TrainConfig
from nlcore.data.datasets import Dataset, load_dataset
from nlcore.noise.labels import NoisyLabels
from nlcore.results import Result
from nlcore.training import train

__all__ = [
    "Dataset",
    "DivergenceError",
    "InputError",
    "NoisyLabels",
    "Result",
    "TrainConfig",
    "__version__",
    "corrupt",
    "load_dataset",
    "train",
]

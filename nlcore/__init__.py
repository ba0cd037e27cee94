"""Learning with noisy labels: TSSD and Anchor Hallucination, small and explicit.

>>> import nlcore
>>> result = nlcore.train(nlcore.TrainConfig(dataset="digits", noise="symmetric", rate=0.4, method="tssd"))
>>> result.last
"""

from nlcore.basics.errors import DivergenceError, InputError
from nlcore.basics.machine import VERSION as __version__
from nlcore.data.datasets import Dataset, load_dataset
from nlcore.noise.labels import NoisyLabels
from nlcore.training.clean_model import corrupt
from nlcore.training.config import TrainConfig
from nlcore.training.result import Result
from nlcore.training.run import train

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

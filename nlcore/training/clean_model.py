"""What a network thinks of the training images when it learns their TRUE labels: the source of model-made noise.

`idn_pmd` and `idn_seal` flip the labels that such a network doubts. Training it takes as long as a short run, so its
predictions are kept beside the data, one file for each dataset, size, seed and length. A later call reads them back,
unless anything else has changed that they depend on.
"""

import hashlib
import io
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nlcore.basics.digests import content_digest
from nlcore.basics.files import in_file_name, write_atomically
from nlcore.basics.machine import code_version, cpu_threads
from nlcore.basics.progress import reused, steps
from nlcore.data.datasets import Dataset, data_root
from nlcore.noise import corrupt as noise
from nlcore.noise.corrupt import opinion_epochs
from nlcore.noise.labels import NoisyLabels
from nlcore.noise.models import CleanPredictions
from nlcore.training.config import TrainConfig
from nlcore.training.kept import run
from nlcore.training.observe import observe

log = logging.getLogger(__name__)

NETWORKS = {"digits": "digits_cnn"}  # where not the dataset's usual one: the labels of a seed stay what they were


def clean_predictions(dataset: Dataset, seed: int, epochs: int) -> CleanPredictions:
    """Train the dataset's usual network with plain cross-entropy on its labels, taken as true, and look every epoch.

    Our choice: the `tuned` training of `ce` (average weights, cosine schedule). PLC and SEAL use larger networks.
    """
    network = NETWORKS.get(dataset.name)
    config = TrainConfig(dataset=dataset.name, noise="given", method="ce", seed=seed, epochs=epochs, network=network)
    config = config.resolved(dataset)
    config = replace(config, batch_size=min(config.batch_size, len(dataset.train_labels)))
    name = f"{in_file_name(dataset.name)}_{len(dataset.train_labels)}_{epochs}epochs_seed{seed}.npz"
    path, digest = data_root() / "clean_models" / name, _digest(dataset, config)
    predictions = _stored(path, digest)
    if predictions is None:
        predictions = _trained(dataset, config)
        _keep(path, digest, predictions)
    else:
        reused(path)
    return predictions


def corrupt(
    dataset: Dataset, kind: str, rate: float | None, seed: int, opinion: CleanPredictions | None = None, **options
) -> NoisyLabels:
    """`nlcore.noise.corrupt.corrupt`, with the opinion of a model that is trained here where none is passed."""
    if opinion is None and (epochs := opinion_epochs(kind, rate, options)):
        opinion = clean_predictions(dataset, seed, epochs)
    return noise.corrupt(dataset, kind, rate, seed, opinion, **options)


def _trained(dataset: Dataset, config: TrainConfig) -> CleanPredictions:
    labels = dataset.train_labels
    clean = NoisyLabels.measured(labels, labels, dataset.num_classes, "clean")
    total = torch.zeros(len(labels), dataset.num_classes, dtype=torch.float64)
    with cpu_threads(config.threads), steps(config.epochs, "training on the true labels", "epochs") as advance:
        for epoch in run(config, dataset, clean):
            snapshot = observe(epoch.state)
            total += snapshot.logits.cpu().double().softmax(1)
            advance(epoch.row["epoch"])
    return CleanPredictions(snapshot.logits.cpu(), snapshot.features.cpu(), (total / config.epochs).float())


def _digest(dataset: Dataset, config: TrainConfig) -> str:
    """Twelve hexadecimal digits of everything that the predictions depend on."""
    parts = [config.to_dict(), code_version(), content_digest(dataset.train_images, dataset.train_labels)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _stored(path: Path, digest: str) -> CleanPredictions | None:
    """The predictions in a file of `_keep`; None if it is missing, damaged or of something else."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if str(arrays.pop("digest")) != digest:
            return None
        return CleanPredictions(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    except Exception:  # a damaged archive shows itself in many ways, and all mean: train again
        return None


def _keep(path: Path, digest: str, predictions: CleanPredictions) -> None:
    content = io.BytesIO()
    np.savez(content, digest=digest, **{name: tensor.numpy() for name, tensor in vars(predictions).items()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    except OSError as error:  # noise can be made without a place to keep the predictions, only slower next time
        log.warning("the clean-label model's predictions are not kept: cannot write %s (%s)", path, error.strerror)

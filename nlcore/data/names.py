"""What data sets are called, and what files call their labels and their rows: small letters, with `_` for a blank."""

import re

COARSE_GIVEN, COARSE_TRUE = "noisy_coarse_label", "clean_coarse_label"  # CIFAR-100N's twenty superclasses
GIVEN_NAMES = ("given_label", "label_noisy", "noisy_label", "noise_label", "given", "noisy", "noise", COARSE_GIVEN)
GIVEN_NAMES += ("given_labels", "noisy_labels", "noise_labels", "noise_label_train", "noisy_label_train")
TRUE_NAMES = ("true_labels", "true_label", "clean_label_train", "clean_label", "true", "clean")
LABEL_NAMES = ("label", "labels", "target", "targets")  # the true ones beside given ones, else the given ones
# The last are what pandas calls row numbers that were saved as a column without a name, once or several times.
INDEX_NAMES = ("index", "idx", "id", "unnamed:_0", "unnamed:_0.1", "unnamed:_0.2")

FEATURES = "_features"  # ends the name of a data set that holds the features of another one's images


def pictured(dataset: str) -> str:
    """The data set of images that a data set of features was made of; any other one itself."""
    return dataset.removesuffix(FEATURES)


def plain(name: str) -> str:
    """A name as the lists above have it."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def first_named(names: tuple[str, ...], held: list[str]) -> str | None:
    """The one of those `held` in a file that has the first of these names; None if none of them has any."""
    by_name = {plain(name): name for name in held}
    return next((by_name[name] for name in names if name in by_name), None)

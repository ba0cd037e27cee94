"""From the name of a noise to noisy labels: `corrupt` finds the model or the file, and says what came of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nlcore.basics.chance import SEEDS
from nlcore.basics.errors import InputError, choose, require
from nlcore.basics.ranges import Range, plain
from nlcore.data.datasets import Dataset, load_dataset
from nlcore.data.names import pictured
from nlcore.noise import models
from nlcore.noise.annotators import from_votes
from nlcore.noise.label_files import HUMAN_FILES, find_label_file
from nlcore.noise.labels import NO_CLASS, NoisyLabels, is_saved
from nlcore.noise.matching import from_file, human_key, saved
from nlcore.noise.models import CleanPredictions

# kind -> its options with their defaults
NOISES: dict[str, dict[str, Any]] = {
    "symmetric": {"include_true": True},
    "asymmetric": {},
    "pairflip": {},
    "idn_xia": {"scaling": "raw"},
    "idn_shared": {"scaling": "raw"},
    "idn_pmd": {"type": "I", "epochs": 10},
    "idn_seal": {"epochs": 10},
    "open_set": {"source": None},
    "mixed": {"first": "idn_xia", "second": "symmetric", "second_rate": None}
    | {"first_options": {}, "second_options": {}},
    "human": {},
    "file": {"key": None, "index": None},
    "given": {},
    "annotators": {"index": None, "soft": False},
}
ARGUMENTS = {"human": "SET", "file": "PATH", "annotators": "FILE"}  # what follows the colon
NOISE_NAMES = tuple(f"{kind}:{ARGUMENTS[kind]}" if kind in ARGUMENTS else kind for kind in NOISES)
WITHOUT_RATE = ("human", "file", "given", "annotators")  # noise that is as large as it is
RATES = Range(0, below=1)
SECONDS = ("symmetric", "asymmetric", "pairflip", "idn_xia", "idn_shared")  # noise that can follow another one
SECOND_SEED = 1000  # added to the seed: with the same one the second would choose the samples that the first did


def corrupt(
    dataset: Dataset, kind: str, rate: float | None, seed: int, opinion: CleanPredictions | None = None, **options
) -> NoisyLabels:
    """Give the training images of a dataset noisy labels.

    Parameters
    ----------
    kind : a model of `nlcore.noise.models`, drawn at `rate`, with its options:

        - `symmetric` (`include_true=True`), `asymmetric`, `pairflip`;
        - `idn_xia`, `idn_shared` (`scaling="raw"`, `"unit"` or `"normalised"`);
        - `idn_pmd` (`type="I"`, `"II"` or `"III"`) and `idn_seal`, which ask a network that was trained on the true
          labels for `epochs=10`: its `opinion`;
        - `open_set` (`source`: the name of a dataset, or a `Dataset`): labels stay, but a share of the images is
          replaced by images of another dataset. `NoisyLabels.shown` puts them in place;
        - `mixed` (`first="idn_xia"`, `second="symmetric"`, `second_rate`: None = `rate`, `first_options`,
          `second_options`): one model, then another one on what the first gave.

        Or labels as they are, whose rate is what it is (`rate` is not used, nor is `seed` but for ties):

        - `human:SET`, CIFAR-10N (`aggre`, `random1`, `random2`, `random3`, `worst`) and CIFAR-100N (`fine`; `coarse` on
          `cifar100_coarse`), from the authors' file in the data folder;
        - `file:PATH`, a label file, see `nlcore.noise.label_files`; option `key` names the entry or column if it holds
          several, `index` the column of the rows of the training set (`none`: in their order);
        - `given`: the dataset's own labels are the noisy ones, and the true ones are unknown;
        - `annotators:FILE`, the votes of several annotators, see `nlcore.noise.annotators`: the majority is the given
          label, ties are broken by `seed`, and `NoisyLabels.soft_labels` keeps the shares, on which plain training
          learns with the option `soft=True`; option `index` as above.
    rate : in [0, 1). A rate of 0 leaves every label as it is.
    seed : from 0 to 2**32 - 1, of a generator of its own; the global random state is neither read nor written.
    opinion : of a clean model, for noises that need one, see `opinion_epochs`; `nlcore.corrupt` trains where none is.

    Raises
    ------
    InputError : an unknown kind or option, a rate or seed out of range or of the model's reach, labels that do not fit
        the images, a label file that is missing, damaged, of another length or order, or more than labels, an opinion
        that is missing or of other images.
    """
    require(dataset, Dataset, "what gets noisy labels", "; load_dataset makes one")
    require(opinion, CleanPredictions | None, "an opinion")
    rate, seed, options = plain(rate), SEEDS.check("seed", seed, whole=True), plain(options)
    check_noise(kind, rate, options)
    noisy = _made(dataset, kind, rate, seed, opinion, options)
    index = dataset.train_index if noisy.rows is None else dataset.train_index[noisy.rows]
    return replace(noisy, index=index)


def _made(
    dataset: Dataset, kind: str, rate: float | None, seed: int, opinion: CleanPredictions | None, options: dict
) -> NoisyLabels:
    """What `corrupt` returns, before it knows its rows in the whole training set."""
    file = label_file(kind, dataset.name, options)
    kind, argument = split_kind(kind)
    options = NOISES[kind] | options
    name = f"{dataset.name}[{len(dataset.train_labels)}]"
    if len(dataset.train_labels) != dataset.full_size:
        name = f"{dataset.name}[{len(dataset.train_labels)} of {dataset.full_size}]"
    if kind == "given":
        return NoisyLabels(dataset.train_labels, None, None, None, f"given of {name}")
    if kind == "human":
        key = human_key(dataset.name, argument)
        return from_file(dataset, file, {"key": key}, f"human:{argument}", name)
    if kind == "file":
        if file.suffix.lower() == ".npz" and is_saved(file):
            return saved(dataset, file)
        return from_file(dataset, file, options, "file", name)
    if kind == "annotators":
        return from_votes(dataset, file, options["index"], seed, name)
    if kind == "mixed":
        return _mixed(dataset, rate, seed, options, opinion)
    if kind == "open_set":
        return _open_set(dataset, rate, seed, options["source"], name)
    labels = dataset.train_labels
    given, flip_prob, words = _drawn(dataset, labels, kind, rate, seed, options, opinion)
    return NoisyLabels.measured(given, labels, dataset.num_classes, f"{words} of {name}", flip_prob=flip_prob)


def opinion_epochs(kind: str, rate: float | None, options: dict[str, Any]) -> int | None:
    """For how many epochs a clean model has to be trained before this noise can ask it; None if it asks none.

    Raises
    ------
    InputError : as `check_noise`, before anything is trained for it.
    """
    check_noise(kind, rate, options)
    kind = split_kind(kind)[0]
    options = NOISES[kind] | options
    if kind == "mixed":
        return opinion_epochs(options["first"], rate, options["first_options"])
    return options["epochs"] if kind in ("idn_pmd", "idn_seal") and rate else None


def check_noise(kind: str, rate: float | None, options: dict[str, Any]) -> None:
    """Find out what is wrong with a noise as far as that can be said without any data.

    Raises
    ------
    InputError : an unknown kind or option, a rate outside [0, 1).
    """
    kind = split_kind(kind)[0]
    options = _checked(kind, options)
    if kind in WITHOUT_RATE:
        return
    RATES.check("rate", rate)
    if kind == "open_set" and options["source"] is None:
        raise InputError("open_set noise needs the option source, the name of a dataset (or a Dataset)")
    if kind == "mixed":
        if split_kind(options["first"])[0] in ("mixed", "open_set", "given"):
            raise InputError(f"mixed noise cannot begin with {options['first']}")
        check_noise(options["first"], rate, options["first_options"])
        then_rate = rate if options["second_rate"] is None else options["second_rate"]
        check_noise(choose("second noise", options["second"], SECONDS), then_rate, options["second_options"])


def label_file(kind: str, dataset_name: str, options: dict[str, Any]) -> Path | None:
    """The file from which a noise takes the labels of a dataset; None if it takes them from none.

    Raises
    ------
    InputError : there is no such file, or the dataset has no such human labels.
    """
    kind, argument = split_kind(kind)
    if kind == "mixed":
        options = NOISES[kind] | options
        return label_file(options["first"], dataset_name, options["first_options"])
    if kind == "human":
        human_key(dataset_name, argument)
        return find_label_file(HUMAN_FILES[pictured(dataset_name)])
    return find_label_file(argument) if kind in ("file", "annotators") else None


def split_kind(kind: str) -> tuple[str, str]:
    """`"human:worst"` -> `("human", "worst")`, `"pairflip"` -> `("pairflip", "")`; an `InputError` if there is none."""
    require(kind, str, "the kind of noise")
    base, _, argument = kind.partition(":")
    if argument and base in NOISES and base not in WITHOUT_RATE:
        raise InputError(f"noise {kind!r} is named {base}; say its rate apart: --rate {argument}, or rate={argument}")
    if base not in NOISES or bool(argument) != (base in ARGUMENTS):
        raise InputError(f"unknown noise {kind!r}; choose one of: {', '.join(NOISE_NAMES)}")
    return base, argument


def _checked(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a kind, with its defaults filled in; an `InputError` names the first that is wrong."""
    defaults = NOISES[kind]
    for key, value in options.items():
        if key not in defaults:
            valid = ", ".join(defaults) or "none"
            raise InputError(f"unknown option {key!r} of {kind} noise; valid options: {valid}")
        expected = type(defaults[key])
        if defaults[key] is not None and type(value) is not expected:
            raise InputError(f"option {key} of {kind} noise must be of type {expected.__name__}, not {value!r}")
    if kind == "idn_pmd":
        choose("type of idn_pmd", (defaults | options)["type"], models.PMD_TYPES)
    if "scaling" in options:
        choose("scaling", options["scaling"], models.SCALINGS)
    if options.get("epochs", 1) < 1:
        raise InputError(f"option epochs of {kind} noise must be at least 1, not {options['epochs']}")
    return defaults | options


def _drawn(
    dataset: Dataset,
    labels: torch.Tensor,
    kind: str,
    rate: float,
    seed: int,
    options: dict[str, Any],
    opinion: CleanPredictions | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None, str]:
    """What a noise model makes of labels (N,): given labels (N,), flip probabilities or None, a name."""
    num_classes = dataset.num_classes
    generator = torch.Generator().manual_seed(seed)
    words = " ".join([kind, f"rate={rate:g}", f"seed={seed}", *(f"{key}={value}" for key, value in options.items())])
    flip_prob = None
    if rate == 0:
        given = labels.clone()
    elif kind == "symmetric":
        given = models.symmetric(labels, num_classes, rate, generator, **options)
    elif kind == "asymmetric":
        given = models.flip_by_map(labels, models.asymmetric_target(dataset), rate, generator)
    elif kind == "pairflip":
        given = models.flip_by_map(labels, models.pairflip_target(num_classes), rate, generator)
    elif kind in ("idn_xia", "idn_shared"):
        scaling = options["scaling"]
        statistics = dataset.channel_statistics() if scaling == "normalised" else None
        model = models.idn_xia_probabilities if kind == "idn_xia" else models.idn_shared_probabilities
        probabilities = model(dataset.train_images, labels, num_classes, rate, generator, scaling, statistics)
        flip_prob = 1 - probabilities.gather(1, labels[:, None]).squeeze(1)
        given = models.draw(probabilities, generator)
    elif kind == "idn_pmd":
        logits = _fitting(opinion, kind, labels, num_classes).logits
        given, flip_prob, factor = models.idn_pmd(logits, labels, rate, options["type"], generator)
        words += f" factor={factor:.4g}"
    else:
        given = models.idn_seal(_fitting(opinion, kind, labels, num_classes).mean_probs, labels, rate)
    return given, flip_prob, words


def _fitting(opinion: CleanPredictions | None, kind: str, labels: torch.Tensor, num_classes: int) -> CleanPredictions:
    """The opinion, if there is one of these images."""
    if opinion is None:
        raise InputError(f"{kind} noise needs the opinion of a clean model: pass it, or let nlcore.corrupt train one")
    if opinion.logits.shape != (len(labels), num_classes):
        raise InputError(
            f"the opinion is of {tuple(opinion.logits.shape)} images and classes, not {(len(labels), num_classes)}"
        )
    return opinion


def _mixed(
    dataset: Dataset, rate: float, seed: int, options: dict[str, Any], opinion: CleanPredictions | None
) -> NoisyLabels:
    """One noise, then a second one on its given labels."""
    then, then_options = options["second"], NOISES[options["second"]] | options["second_options"]
    then_rate = rate if options["second_rate"] is None else options["second_rate"]
    first = corrupt(dataset, options["first"], rate, seed, opinion, **options["first_options"])
    if first.true_labels is None:
        raise InputError(f"mixed noise needs true labels, and {options['first']} has none")
    shown = first.shown(dataset)
    given, _, words = _drawn(shown, first.given_labels, then, then_rate, seed + SECOND_SEED, then_options)
    identity = f"mixed: {first.identity}, then {words}"
    return NoisyLabels.measured(
        given,
        first.true_labels,
        dataset.num_classes,
        identity,
        rows=first.rows,
        outside_rows=first.outside_rows,
        outside_images=first.outside_images,
    )


def _open_set(dataset: Dataset, rate: float, seed: int, source: str | Dataset, name: str) -> NoisyLabels:
    """Foreign images in place of a share of the dataset's own; every label stays, and theirs are wrong."""
    if isinstance(source, str):
        source = load_dataset(source)
    ours, theirs = (tuple(d.train_images.shape[1:]) for d in (dataset, source))
    if ours != theirs:
        raise InputError(f"open_set noise: images of {source.name} are {theirs}, those of {dataset.name} {ours}")
    generator = torch.Generator().manual_seed(seed)
    rows = models.choose_samples(len(dataset.train_labels), rate, generator).sort().values
    if len(rows) > len(source.train_images):
        raise InputError(f"open_set noise needs {len(rows)} images, {source.name} has {len(source.train_images)}")
    picked = torch.randperm(len(source.train_images), generator=generator)[: len(rows)]
    true = dataset.train_labels.clone()
    true[rows] = NO_CLASS
    return NoisyLabels.measured(
        dataset.train_labels.clone(),
        true,
        dataset.num_classes,
        f"open_set rate={rate:g} seed={seed} source={source.name}[{len(source.train_images)}] of {name}",
        outside_rows=rows,
        outside_images=source.train_images[picked],
    )

"""Print how fast the engine is, as ratios measured in one run, and what is asked of it on two CPU cores.

    python -m benchmark.speed              # a few minutes
    python -m benchmark.speed --vectors    # a whole run of every method on vectors instead, about two minutes
    python -m benchmark.speed --gpu        # PreAct ResNet-18 on the first GPU instead

Images are random: speed does not depend on what they show. Every time is the median of several.
"""

import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from benchmark.scaling import made_snapshot, measured
from nlcore import TrainConfig, train
from nlcore.basics.machine import resolved_precision
from nlcore.data.datasets import Dataset
from nlcore.methods import METHODS, anchor, tssd
from nlcore.noise.labels import NoisyLabels
from nlcore.selection.division import everything_labelled
from nlcore.selection.voting import ballots_from_anchors, ballots_from_hard, soft_votes
from nlcore.training.epoch import ssl_epoch
from nlcore.training.mixmatch import SSLConfig, mixmatch_step
from nlcore.training.networks import average_weights, build_network, frozen_copy
from nlcore.training.observe import observe
from nlcore.training.randaugment import strong_views
from nlcore.training.state import start
from nlcore.training.steps import Steps
from nlcore.training.views import normalise, weak_views

BATCH = 64  # labelled, and as many unlabelled
SSL = SSLConfig(views=2)
MEAN, STD = torch.full((3,), 0.47), torch.full((3,), 0.25)


def seconds(work: Callable[[], object], repeat: int = 5) -> float:
    """Median time of a call, after one that warms up."""
    work()
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def per_image(*first: Callable) -> Callable:
    """The usual pipeline of one image: PIL transforms, a tensor, normalised."""
    last = (transforms.ToTensor(), transforms.Normalize(MEAN.tolist(), STD.tolist()))
    return transforms.Compose([transforms.RandomCrop(32, 4), transforms.RandomHorizontalFlip(), *first, *last])


def step(images: torch.Tensor, fast: bool) -> Callable[[], None]:
    """One MixMatch step of a PreAct ResNet-18 with two views, on images of which half are labelled: ours, or the plain
    way."""
    device, generator = images.device, torch.Generator(images.device).manual_seed(0)
    network = build_network("preact_resnet18", 3, 10, seed=0).to(device)
    if fast:
        network = network.to(memory_format=torch.channels_last)
    teacher = frozen_copy(network)
    parameters = list(teacher.parameters()), list(network.parameters())
    optimiser = torch.optim.SGD(network.parameters(), 0.02, 0.9, weight_decay=5e-4, fused=fast, foreach=False)
    half = len(images) // 2
    labels, weight = torch.arange(half, device=device) % 10, torch.full((half,), 0.8, device=device)
    mean, std = MEAN.to(device), STD.to(device)
    pil = [Image.fromarray(image.permute(1, 2, 0).cpu().numpy()) for image in images]
    transform = per_image()

    def view() -> torch.Tensor:
        if not fast:
            return torch.stack([transform(image) for image in pil]).to(device)
        batch = normalise(weak_views(images, 4, True, generator), mean, std)
        return batch.contiguous(memory_format=torch.channels_last)

    def work() -> None:
        views = [view() for _ in range(SSL.views)]
        with torch.autocast(device.type, torch.bfloat16, enabled=fast):
            loss = mixmatch_step(network, [teacher], views, views, labels, weight, 1.0, 0.7, SSL, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        average_weights(*parameters, 0.99)

    return work


def engine_step(network: str, precision: str) -> tuple[float, float]:
    """Seconds and operations of a MixMatch step as a run takes it, views included: 64 labelled images, 64 others."""
    images = torch.randint(0, 256, (4 * BATCH, 3, 32, 32), dtype=torch.uint8)
    labels = torch.arange(len(images)) % 10
    dataset = Dataset("made", images, labels, images[:10], labels[:10], tuple("0123456789"))
    given = NoisyLabels(labels, None, None, None, "given")
    chosen = {"network": network, "batch_size": BATCH, "epochs": 2, "warmup_epochs": 1, "threads": 1}
    config = TrainConfig(method="dividemix", noise="given", device="cpu", precision=precision, **chosen)
    state = start(config.resolved(dataset), dataset, given)
    state.epoch, half = 1, labels % 2 == 0
    division = replace(everything_labelled(observe(state), labels), labelled=half)

    def work() -> None:
        ssl_epoch(state, division)

    with FlopCounterMode(display=False) as counter:
        work()
    steps = Steps(state).count(int(half.sum()))
    return seconds(work, 3) / steps, counter.get_total_flops() / steps


def search(direction: Callable, hard: int = 25_000, anchors: int = 20_000) -> Callable[[], None]:
    """Find the anchors of hard samples and let them vote."""
    generator = torch.Generator().manual_seed(0)
    queries = F.normalize(torch.randn(hard, 512, generator=generator), dim=1)
    keys = F.normalize(torch.randn(anchors, 512, generator=generator), dim=1)
    labels, voters = torch.arange(anchors) % 10, anchor.PRESETS["tuned"].voters

    def work() -> None:
        chosen, cosines = direction(queries, keys, -torch.inf, voters)
        soft_votes(chosen, cosines, labels, 10, 0.1)

    return work


def row(what: str, value: float, unit: str, low: float | None = None, high: float | None = None) -> None:
    asked = "" if low is None and high is None else f"at least {low:g}" if high is None else f"at most {high:g}"
    fine = (low is None or value >= low) and (high is None or value <= high)
    print(
        f"{what:58s} {value:12,.2f} {unit:10s} {asked:18s} {'' if not asked else 'yes' if fine else 'NO'}", flush=True
    )


def cpu() -> None:
    """The table for two cores."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2000, 3, 32, 32), dtype=torch.uint8, generator=generator)

    for name, direction in (("hard -> anchors", ballots_from_hard), ("anchors -> hard", ballots_from_anchors)):
        found = measured(search(direction))
        row(f"search and vote, {name}, 20,000 x 25,000", found["seconds"], "s", high=10)
        row("    extra memory", found["extra_mb"], "MB", high=500)

    for classes in (10, 100):
        snapshot, given = made_snapshot(50_000, classes)
        for preset in ("tuned", "paper"):
            config = tssd.PRESETS[preset]
            took = seconds(lambda s=snapshot, g=given, c=config: tssd.psd(s, g, c), 3)
            row(f"division, both streams, 50,000 x 512, C = {classes}, {preset}", took, "s", high=1)

    def views_each_second(work: Callable, count: int) -> float:
        return count / seconds(work)

    pil = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images[:500]]
    for name, batched, extra, low in (
        ("weak", weak_views, (), 100_000),
        ("strong", strong_views, (transforms.RandAugment(),), 10_000),
    ):
        whole = views_each_second(lambda b=batched: b(images, 4, True, generator), len(images))
        transform = per_image(*extra)
        single = views_each_second(lambda t=transform: [t(image) for image in pil], len(pil))
        row(f"{name} views", whole, "views/s", low=low)
        row(f"    one image at a time (PIL): {single:,.0f} views/s, ratio", whole / single, "x", low=10)

    ours, plain = seconds(step(images[: 2 * BATCH], True), 3), seconds(step(images[: 2 * BATCH], False), 3)
    row(f"MixMatch step, PreAct ResNet-18, two views: {ours:.2f} s, plain {plain:.2f} s", plain / ours, "x", low=2.3)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    factors = torch.randn(2, 2048, 2048)
    peak = 2 * 2048**3 / seconds(lambda: factors[0] @ factors[1])
    row("float32 matrix product, 2,048 x 2,048, one thread", peak / 1e9, "GFLOPS")
    for network in ("tiny", "small", "whitened"):
        for precision in dict.fromkeys(("float32", resolved_precision("auto", torch.device("cpu")))):
            took, operations = engine_step(network, precision)
            share = 100 * operations / took / peak
            low = 60 if network == "small" else None
            row(f"MixMatch step, {network}, {precision}: {1000 * took:.0f} ms, of that peak", share, "%", low=low)
    torch.set_num_threads(threads)


def made_vectors(n: int, dim: int, classes: int = 10) -> Dataset:
    """Random vectors around class means, half precision as features are stored."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    vectors = torch.randn(n, dim, generator=generator) + torch.randn(classes, dim, generator=generator)[labels] / 8
    names = tuple(map(str, range(classes)))
    return Dataset("made", vectors.half(), labels, vectors[:1000].half(), labels[:1000], names)


def vectors(n: int = 20_000, dim: int = 1_280) -> None:
    """The table for vectors: 12 epochs of `mlp` in one thread, for each method with one network."""
    data = made_vectors(n, dim)
    noise = {"noise": "symmetric", "rate": 0.5, "threads": 1, "device": "cpu"}
    for name in METHODS:
        config = TrainConfig(method=name, **noise).resolved(data)
        if config.networks == 1:
            started = time.perf_counter()
            train(config, data)
            row(f"{name}, {n:,} x {dim:,}", time.perf_counter() - started, "s", high=20)


def throughput(device: torch.device, batch: int, compiled: bool = False, repeat: int = 5) -> float:
    """Images a second through a PreAct ResNet-18 in bfloat16, forward and backward."""
    network = build_network("preact_resnet18", 3, 10, seed=0).to(device, memory_format=torch.channels_last)
    if compiled:
        network.compile()
    images = torch.rand(batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(batch, device=device) % 10

    def train() -> None:
        for _ in range(10):
            with torch.autocast(device.type, torch.bfloat16):
                logits, _ = network(images)
            F.cross_entropy(logits, labels).backward()

    return 10 * batch / seconds(train, repeat)


def busy(device: torch.device, images: torch.Tensor, ready, stop) -> None:
    """Take steps until `stop`: what shares a GPU with a step that is measured."""
    work = step(images.to(device), True)
    work()
    ready.release()
    while not stop.is_set():
        work()


def step_beside(device: torch.device, others: int, batch: int = BATCH, repeat: int = 20) -> float:
    """Seconds of a MixMatch step on `batch` + `batch` images, while so many other processes take steps too."""
    images = torch.randint(0, 256, (2 * batch, 3, 32, 32), dtype=torch.uint8)
    spawn = multiprocessing.get_context("spawn")  # a forked process cannot use a GPU
    ready, stop = spawn.Semaphore(0), spawn.Event()
    running = [spawn.Process(target=busy, args=(device, images, ready, stop), daemon=True) for _ in range(others)]
    for process in running:
        process.start()
    try:
        if not all(ready.acquire(timeout=60) for _ in running):
            raise RuntimeError("another process did not begin within a minute")
        return seconds(step(images.to(device), True), repeat)
    finally:
        stop.set()
        for process in running:
            process.join()


def gpu(compiled: bool) -> None:
    """Throughput on a GPU, what the engine asks first; `compiled` measures one batch of the compiled network alone."""
    if not torch.cuda.is_available():
        sys.exit("error: no CUDA device is available here")
    device = torch.device("cuda")
    print(torch.cuda.get_device_name(device))
    if compiled:
        row("forward + backward, batch 256, compiled", throughput(device, 256, True), "img/s")
        return
    for others in (0, 2):
        row(f"MixMatch step, 64 + 64, two views, beside {others} others", 1000 * step_beside(device, others), "ms")
    # With it every new size of a batch is searched for the fastest convolutions: the first call takes seconds.
    for searched in (False, True):
        torch.backends.cudnn.benchmark = searched
        for batch in (64, 119, 128, 256, 512):
            name = f"forward + backward, batch {batch}{', cudnn.benchmark' if searched else ''}"
            row(name, throughput(device, batch), "img/s", low=40_000 if batch == 512 else None)


def main(
    on_gpu: Annotated[bool, typer.Option("--gpu", help="Measure the GPU.")] = False,
    on_vectors: Annotated[bool, typer.Option("--vectors", help="Measure whole runs on vectors.")] = False,
    compiled: Annotated[bool, typer.Option("--compiled", help="Of the GPU, the compiled network alone.")] = False,
) -> None:
    """Print measured speed beside what is asked."""
    gpu(compiled) if on_gpu else vectors() if on_vectors else cpu()


if __name__ == "__main__":
    typer.run(main)

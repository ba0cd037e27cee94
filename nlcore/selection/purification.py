"""Meta Sample Purification: a small classifier learns what a right label looks like and searches the uncertain samples.

Its input has to depend on the GIVEN label: a picture of a cat says nothing about whether its label is right. So a
sample is described by how its features meet the mean of the class that its label names. And it must not be taught on
the two stream probabilities alone: they define the certain sets, so they separate them perfectly and say nothing
elsewhere.
"""

import torch
import torch.nn.functional as F
from torch import nn

from nlcore.basics.chance import seeded

MIN_SIDE = 100  # fewer examples of clean or noisy labels than this (scaled for small sets) and nothing is learnt
SMALLEST_BATCH, STEPS = 256, 32  # batches grow where a pass would take more steps: small ones mine no better, slower
MOST_EXAMPLES = 10_000  # of clean labels, and of noisy ones: more teach 128 units nothing


def meta_features(
    features: torch.Tensor, probs: torch.Tensor, labels: torch.Tensor, means: torch.Tensor, scalars: bool = True
) -> torch.Tensor:
    """How each sample looks if `labels` (N,) were its labels: (N, d) or (N, d + 6) float32 (our reconstruction).

    First d columns: unit feature times unit class mean of the label, element by element. With `scalars` also:
    probability of the label, largest probability, entropy, loss, cosine to the label's class mean, margin to the next
    class mean. `means` (K, d) are class means of the unit features.
    """
    unit, means = F.normalize(features, dim=1), F.normalize(means, dim=1)
    product = unit * means[labels]
    if not scalars:
        return product
    cosines = unit @ means.T
    own = cosines.gather(1, labels[:, None])
    margin = own - cosines.scatter(1, labels[:, None], -torch.inf).amax(1, keepdim=True)
    label_prob = probs.gather(1, labels[:, None])
    log_probs = probs.clamp(min=1e-12).log()
    entropy = -(probs * log_probs).sum(1, keepdim=True)
    loss = -label_prob.clamp(min=1e-12).log()
    return torch.cat([product, label_prob, probs.amax(1, keepdim=True), entropy, loss, own, margin], 1)


def random_other_label(labels: torch.Tensor, num_classes: int, generator: torch.Generator) -> torch.Tensor:
    """A label drawn uniformly among the other classes, for each of (N,)."""
    shift = torch.randint(1, num_classes, labels.shape, generator=generator, device=labels.device)
    return (labels + shift) % num_classes


def likely_other_label(labels: torch.Tensor, transition: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A wrong label for each of (N,), drawn as labels of its class go wrong: by row of `transition` (K, K), whose
    diagonal does not count (our reconstruction). A class that never goes wrong gets any other label.
    """
    weight = transition.clone().fill_diagonal_(0.0) + 1e-6 * (1 - torch.eye(len(transition), device=labels.device))
    return torch.multinomial(weight[labels], 1, generator=generator).squeeze(1)


def drawn(members: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rows of a set (N,) bool, in order; of a large one 10,000, drawn at random (our reconstruction)."""
    rows = members.nonzero().flatten()
    if len(rows) <= MOST_EXAMPLES:
        return rows
    return rows[torch.randperm(len(rows), generator=generator, device=rows.device)[:MOST_EXAMPLES].sort().values]


def fit_meta_classifier(
    clean: torch.Tensor, noisy: torch.Tensor, passes: int, generator: torch.Generator
) -> tuple[nn.Module, float]:
    """Train the meta classifier from scratch on descriptions of clean (P, m) and noisy (Q, m) labels.

    MLP m-128-1 with batch norm, ReLU and dropout 0.2; binary cross-entropy with the positives weighted Q/P; AdamW 1e-3,
    weight decay 1e-4, batches of 256, or 32 a pass (our reconstruction). 10 % of the examples are held out.

    Returns the classifier, in evaluation mode and giving one logit a row, and its AUC on the held-out examples: a check
    that it trained, never a measure of how well it mines.
    """
    from sklearn.metrics import roc_auc_score

    device = clean.device
    inputs = torch.cat([clean, noisy])
    answers = torch.cat([torch.ones(len(clean), device=device), torch.zeros(len(noisy), device=device)])
    standardise = Standardise(inputs.mean(0), inputs.std(0).clamp(min=1e-6)).to(device)
    inputs = standardise(inputs)  # once, not batch by batch
    order = torch.randperm(len(inputs), generator=generator, device=device)
    held_out, training = order[: len(order) // 10], order[len(order) // 10 :]

    seed = int(torch.randint(2**31, (1,), generator=generator, device=device))
    with seeded(seed, device):  # initial weights and dropout draw from torch's global generators
        mlp = nn.Sequential(
            nn.Linear(inputs.shape[1], 128),
            nn.BatchNorm1d(128),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(128, 1),
        ).to(device)
        optimiser = torch.optim.AdamW(mlp.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
        balance = torch.tensor(len(noisy) / len(clean), device=device)
        size = max(SMALLEST_BATCH, -(-len(training) // STEPS))
        for _ in range(passes):
            for batch in training[torch.randperm(len(training), generator=generator, device=device)].split(size):
                if len(batch) < 2:  # batch norm needs two rows
                    continue
                loss = F.binary_cross_entropy_with_logits(
                    mlp(inputs[batch]).squeeze(1), answers[batch], pos_weight=balance
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    mlp.eval()
    with torch.no_grad():
        scores = mlp(inputs[held_out]).squeeze(1)
    both = 0 < float(answers[held_out].sum()) < len(held_out)
    auc = float(roc_auc_score(answers[held_out].cpu(), scores.cpu())) if both else float("nan")
    return nn.Sequential(standardise, mlp), auc


class Standardise(nn.Module):
    """Subtract a mean and divide by a standard deviation, each (m,)."""

    def __init__(self, mean: torch.Tensor, std: torch.Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return (inputs - self.mean) / self.std


def purification_score(mlp: nn.Module, descriptions: torch.Tensor) -> torch.Tensor:
    """Probability that each label is right, (N,) float32, from descriptions (N, m)."""
    with torch.no_grad():
        return mlp(descriptions).squeeze(1).sigmoid()

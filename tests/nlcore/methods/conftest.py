"""What a method makes of 600 digits of which half have a random label."""

from types import SimpleNamespace

import pytest

from nlcore import TrainConfig
from nlcore.training.engine import run
from nlcore.training.observe import observe
from nlcore.training.run import prepare


@pytest.fixture(scope="package")
def learnt():
    """`learnt(method)`: a finished run, made once: `memorised`, the share of the wrong given labels that the network
    predicts, `recovered`, the share of those samples whose true label it predicts, and `state`."""
    runs = {}

    def get(method: str) -> SimpleNamespace:
        if method not in runs:
            config = TrainConfig(method=method, subset=600, rate=0.5, device="cpu", threads=1).resolved()
            *_, last = run(config, *prepare(config))
            state = last.state
            predicted, wrong = observe(state).logits.argmax(1), state.given_labels != state.true_labels
            shares = [
                float((predicted == labels)[wrong].double().mean())
                for labels in (state.given_labels, state.true_labels)
            ]
            runs[method] = SimpleNamespace(memorised=shares[0], recovered=shares[1], state=state, row=last.row)
        return runs[method]

    return get

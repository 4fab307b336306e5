"""An outage that is longer than the outbox: what was forced out is told, to the sample."""

from telemetry_help import Cloud, call, eventually
from test_telemetry_inputs import ALL, noise

from bordnetz.batch.losses import LossCause

BUDGET = 1_000_000
LARGE = {"BORDNETZ_OUTBOX_BYTES": str(BUDGET), "BORDNETZ_COMMIT_SECONDS": "0"}


def losses(cloud):
    return [loss for batch in cloud.batches.values() for loss in batch.losses]


def test_what_an_outage_forces_out_of_the_outbox_is_told_to_the_sample(deploy, start, car):
    hub = deploy(collect=ALL, batchWindow=0.1)
    module = start(hub).collecting().remembering()
    assert module.end() == 0
    # Nowhere to send to, twice: what is told has to outlive the process.
    for life in range(2):
        module = start(None, **LARGE).collecting()
        for part in range(5):
            car.send(noise(32_000, life * 100 + part))
            eventually(
                lambda module=module: module.figure("bordnetz_samples_sent_total"),
                lambda stored, wanted=(part + 1) * 32_000: stored >= wanted,
            )
        lost = module.figure("bordnetz_samples_given_up_total")
        assert lost > 0
        module.end()
        car.hang_up()
    module = start(hub, **LARGE).collecting()
    cloud = eventually(
        lambda: Cloud(hub),
        lambda cloud: cloud.samples + sum(loss.samples for loss in losses(cloud)) >= car.sent,
    )
    told = losses(cloud)
    assert cloud.samples + sum(loss.samples for loss in told) == car.sent
    assert {loss.cause for loss in told} == {LossCause.BUDGET}
    # The oldest went: all that came begins when what was lost is over.
    first = min(batch.header.first for batch in cloud.batches.values() if len(batch.samples))
    assert max(loss.end for loss in told) <= first + 1_000_000_000
    assert call(hub, "status")["samples"]["givenUp"] == {}
    assert module.end() == 0

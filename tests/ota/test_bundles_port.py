import json
import threading

import pytest

from bordnetz.ota.bundles import AnswerError, Telemetry

HASH = "ab" * 32


class Car:
    """Telemetry as a function that hears offers and may answer, at once or ``after`` so long."""

    def __init__(self, *answers, patience=60.0, after=0.0):
        self.after = after
        self.offers = []
        self.answers = list(answers)
        self.stop = threading.Event()
        self.port = Telemetry(self.tell, patience, self.stop)

    def tell(self, sha256, path):
        self.offers.append((sha256, path))
        if self.answers and (answer := self.answers.pop(0)) is not None:
            body = json.dumps(answer).encode()
            if self.after:
                threading.Timer(self.after, self.port.hear, [body]).start()
            else:
                self.port.hear(body)


def answer(name=HASH, accepted=True, reason="", signals=5):
    return {"hash": name, "accepted": accepted, "reason": reason, "signals": signals}


def test_an_offer_gets_its_answer():
    car = Car(answer(accepted=False, reason="another wiring"), after=0.01)
    found = car.port.ask(HASH, "/bundles/x")
    assert (found.accepted, found.reason) == (False, "another wiring")
    assert car.offers == [(HASH, "/bundles/x")]


def test_a_lost_offer_is_made_again(monkeypatch):
    monkeypatch.setattr("bordnetz.ota.bundles.REPEAT", 0.05)
    car = Car(None, None, answer())
    assert car.port.ask(HASH, "/b").accepted
    assert len(car.offers) == 3


def test_an_answer_about_another_bundle_is_none_to_this_one(monkeypatch):
    monkeypatch.setattr("bordnetz.ota.bundles.REPEAT", 0.05)
    car = Car(answer(name="cd" * 32), answer())
    assert car.port.ask(HASH, "/b").hash == HASH
    assert len(car.offers) == 2


def test_an_answer_from_before_the_offer_does_not_count():
    car = Car(patience=0.1)
    car.port.hear(json.dumps(answer()).encode())
    assert car.port.ask(HASH, "/b") is None


def test_nobody_is_waited_for_after_the_stop():
    car = Car(patience=60)
    car.stop.set()
    assert car.port.ask(HASH, "/b") is None


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"hash": 5, "accepted": true}', b'{"hash": ""}', b"x" * 70_000, b"[" * 60_000],
)
def test_what_is_no_answer_is_refused(body):
    with pytest.raises(AnswerError):
        Car().port.hear(body)


def test_what_telemetry_says_right_after_its_refusal_does_not_cover_it():
    car = Car()

    def tell(sha256, path):
        for one in (answer(accepted=False), answer(name="cd" * 32)):
            car.port.hear(json.dumps(one).encode())

    car.port = Telemetry(tell, 60.0, car.stop)
    assert not car.port.ask(HASH, "/b").accepted

"""Downloads, against a store that does everything wrong that a store can."""

import hashlib
import json

import pytest
from downloading_car import (
    CHUNK,
    CONTENT,
    DELIVERY,
    SHA256,
    Car,
    begin,
    car,
    folder,
    names,
    store,
)
from misbehaving_store import (
    chunked,
    cut,
    drip,
    endless,
    flip,
    header,
    ignore_range,
    length,
    status,
    wrong_range,
)

from bordnetz.ota.download import Conduct, Downloader
from bordnetz.ota.fetch import BudgetError, PausedError
from bordnetz.ota.http import HttpSource
from bordnetz.ota.ports import HaltedError
from bordnetz.ota.source import MissingError, NeedsUrlError, RefusedError, UnreachableError
from bordnetz.uptane.custom import Delivery
from bordnetz.uptane.errors import Kind, UptaneError

__all__ = ["car", "folder", "store"]


# all is well


def test_a_delivery_comes_and_nothing_else_is_left(car, folder):
    path = car.fetch()
    assert path.read_bytes() == CONTENT
    assert names(folder) == [SHA256]
    assert car.cost == len(CONTENT)


def test_what_is_there_already_does_not_come_again(car, store):
    path = car.fetch()
    assert car.fetch() == path
    assert len(store.requests) == 1


def test_what_is_there_but_wrong_comes_again(car, folder):
    (folder / SHA256).write_bytes(CONTENT[:-1] + b"x")
    assert car.fetch().read_bytes() == CONTENT


def test_an_empty_delivery_comes(store, folder):
    empty = Delivery(name="e", length=0, sha256=hashlib.sha256().hexdigest(), encoding="identity")
    with HttpSource(store.url, ca=store.ca) as source:
        path = Downloader(source, Conduct()).fetch(empty, folder, 0, lambda _: None)
    assert path.read_bytes() == b""


def test_a_chunked_delivery_comes(car, store):
    store.always = chunked()
    assert car.fetch().read_bytes() == CONTENT


# going on


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, len(CONTENT) - 1])
def test_after_an_end_in_good_order_not_a_byte_is_repeated(car, store, count):
    begin(car, count)
    assert car.fetch().read_bytes() == CONTENT
    assert store.starts() == [count]
    assert car.cost == len(CONTENT) - count
    assert "if-match" in store.requests[0].headers


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7, len(CONTENT)])
def test_after_a_crash_what_was_not_synced_for_sure_is_repeated(car, store, folder, count):
    # The record says nothing, and up to a chunk at the end may be zeros.
    reliable = (count - 1) // CHUNK * CHUNK
    part = CONTENT[:reliable] + bytes(count - reliable)
    (folder / f"{SHA256}.part").write_bytes(part)
    assert car.fetch().read_bytes() == CONTENT
    assert store.starts() == [reliable]
    assert count - reliable <= CHUNK


def test_a_download_that_is_whole_but_was_not_named_is_not_repeated(car, store, folder):
    begin(car, len(CONTENT) - 1)
    record = json.loads((folder / f"{SHA256}.record").read_bytes())
    (folder / f"{SHA256}.part").write_bytes(CONTENT)
    record["length"] = len(CONTENT)
    (folder / f"{SHA256}.record").write_text(json.dumps(record))
    car.fetch()
    assert store.requests == []


@pytest.mark.parametrize("record", [b"", b"{", b'{"length":-1}', b'{"x":1}', b"x" * 5000, b"[]"])
def test_a_damaged_record_costs_a_chunk_at_most(car, store, folder, record):
    begin(car, CHUNK + 5)
    (folder / f"{SHA256}.record").write_bytes(record)
    assert car.fetch().read_bytes() == CONTENT
    assert store.starts() == [CHUNK]


def test_a_part_that_is_too_long_is_not_believed(car, store, folder):
    (folder / f"{SHA256}.part").write_bytes(CONTENT * 2)
    assert car.fetch().read_bytes() == CONTENT
    assert store.starts() == [0]


def test_a_link_that_breaks_again_and_again_is_enough(car, store):
    store.always = cut(CHUNK + 1)
    assert car.fetch().read_bytes() == CONTENT
    assert store.starts() == [0, CHUNK + 1, 2 * CHUNK + 2, 3 * CHUNK + 3]
    assert car.cost == len(CONTENT)


def test_a_server_that_knows_no_ranges_is_read_from_the_beginning(car, store):
    begin(car, CHUNK + 5)
    store.always = ignore_range
    assert car.fetch().read_bytes() == CONTENT
    assert car.cost == len(CONTENT)


def test_a_server_that_sends_another_part_is_read_from_the_beginning(car, store):
    begin(car, CHUNK + 5)
    store.faults = [wrong_range]
    assert car.fetch().read_bytes() == CONTENT
    assert store.starts() == [CHUNK + 5, 0]


def test_a_file_that_was_replaced_meanwhile_is_read_from_the_beginning(car, store):
    begin(car, CHUNK + 5)
    store.tags[f"/targets/{DELIVERY.path}"] = '"other"'
    assert car.fetch().read_bytes() == CONTENT
    assert store.starts() == [CHUNK + 5, 0]


def test_a_file_whose_tag_changes_all_the_time_comes_all_the_same(car, store):
    def other(exchange) -> None:
        store.tags[f"/targets/{DELIVERY.path}"] = f'"{len(store.requests)}"'

    store.faults = [cut(CHUNK + 5), other, other]
    store.always = other
    assert car.fetch().read_bytes() == CONTENT


def test_a_server_without_tags_can_be_gone_on_with(car, store):
    store.tags[f"/targets/{DELIVERY.path}"] = "W/weak"
    begin(car, CHUNK + 5)
    assert car.fetch().read_bytes() == CONTENT
    assert store.starts() == [CHUNK + 5]
    assert "if-match" not in store.requests[0].headers


def test_a_url_that_expires_is_answered_with_a_new_one(car, store):
    store.key = "sig=old"
    begin(car, CHUNK + 5)
    url, store.key = store.url, "sig=new"
    old = Car(store, car.folder)
    with HttpSource(url, ca=store.ca) as source, pytest.raises(NeedsUrlError):
        Downloader(source, old.conduct).fetch(DELIVERY, car.folder, None, old.received.append)
    assert old.waits == []
    assert car.fetch().read_bytes() == CONTENT
    assert store.starts() == [CHUNK + 5, CHUNK + 5]
    assert car.cost == len(CONTENT) - CHUNK - 5


def test_a_url_that_expires_mid_file_keeps_what_has_come(car, store):
    store.faults = [cut(CHUNK), status(403)]
    with pytest.raises(NeedsUrlError):
        car.fetch()
    assert car.fetch().read_bytes() == CONTENT
    assert store.starts() == [0, CHUNK, CHUNK]


# wrong, endless, slow


def kind(error) -> Kind:
    return error.value.kind


def test_a_flipped_bit_costs_one_more_download(car, store):
    store.faults = [flip(CHUNK)]
    assert car.fetch().read_bytes() == CONTENT
    assert store.starts() == [0, 0]
    assert car.cost == 2 * len(CONTENT)


def test_the_wrong_bytes_twice_are_arbitrary_software_and_nothing_is_left_of_them(
    car, store, folder
):
    store.always = flip(len(CONTENT) - 1)
    with pytest.raises(UptaneError) as error:
        car.fetch()
    assert kind(error) is Kind.ARBITRARY_SOFTWARE
    assert store.starts() == [0, 0]
    assert (folder / f"{SHA256}.part").stat().st_size == 0
    assert not (folder / SHA256).exists()


def test_a_file_of_another_length_is_refused_before_it_is_read(car, store):
    store.always = length(len(CONTENT) - 1)
    with pytest.raises(UptaneError) as error:
        car.fetch()
    assert kind(error) is Kind.ARBITRARY_SOFTWARE
    assert car.cost == 0
    assert len(store.requests) == 2


@pytest.mark.parametrize("fault", [endless, length(len(CONTENT) + 1)])
def test_endless_data_ends_at_once(car, store, fault):
    store.always = fault
    with pytest.raises(UptaneError) as error:
        car.fetch()
    assert kind(error) is Kind.ENDLESS_DATA
    assert len(store.requests) == 1
    assert car.cost <= len(CONTENT)


def test_endless_data_behind_what_has_come_ends_at_once(car, store):
    begin(car, CHUNK)

    def more(exchange) -> None:
        endless(exchange)
        del exchange.headers["Content-Range"]
        exchange.status = 200
        exchange.send_from(0)
        endless_body = exchange.body
        exchange.body = (piece for part in (endless_body, [b"x"]) for piece in part)

    store.always = more
    with pytest.raises(UptaneError) as error:
        car.fetch()
    assert kind(error) is Kind.ENDLESS_DATA


def test_a_drip_is_tried_again_and_then_reported_as_slow(car, store):
    store.always = drip(0.02)
    car = Car(store, car.folder, attempts=2)
    car.patience = 0.3
    with pytest.raises(UptaneError) as error:
        car.fetch()
    assert kind(error) is Kind.SLOW_RETRIEVAL
    assert len(store.requests) == 2
    store.always = None
    car.patience = 60
    assert car.fetch().read_bytes() == CONTENT
    assert car.cost == len(CONTENT)


def test_a_delivery_that_is_sent_compressed_is_refused(car, store):
    store.always = header("Content-Encoding", "gzip")
    with pytest.raises(RefusedError, match="compressed"):
        car.fetch()


def test_a_redirect_is_refused(car, store):
    store.always = status(307, Location=f"{store.root}/elsewhere")
    with pytest.raises(RefusedError, match="another place"):
        car.fetch()
    assert len(store.requests) == 1


# giving up


def test_waits_double_and_are_drawn_and_end(store, folder):
    store.always = status(500)
    draws = iter([0.5, 1.0, 0.0, 0.25])
    car = Car(store, folder, attempts=5, draw=lambda: next(draws))
    with pytest.raises(UnreachableError):
        car.fetch()
    assert len(store.requests) == 5
    assert car.waits == [1.0, 1, 1, 1, 1, 1, 1, 1, 1]


def test_a_wait_is_bounded_and_the_caller_is_asked_meanwhile(store, folder):
    store.always = status(500)
    car = Car(store, folder, attempts=12)
    with pytest.raises(UnreachableError):
        car.fetch()
    assert max(car.waits) == 1
    assert sum(car.waits) == 2 + 4 + 8 + 16 + 7 * 30
    assert car.received.count(0) > len(car.waits)


def test_a_chunk_more_begins_the_count_of_attempts_anew(store, folder):
    store.faults = [status(500), cut(CHUNK), status(500), cut(CHUNK), status(500)]
    car = Car(store, folder, attempts=3)
    assert car.fetch().read_bytes() == CONTENT


def test_a_few_bytes_more_do_not(store, folder):
    store.always = cut(10)
    car = Car(store, folder, attempts=3)
    with pytest.raises(UnreachableError):
        car.fetch()
    assert len(store.requests) == 3


def test_a_server_that_breaks_off_and_knows_no_ranges_is_given_up(store, folder):
    def fault(exchange) -> None:
        ignore_range(exchange)
        cut(2 * CHUNK)(exchange)

    store.always = fault
    with pytest.raises(UnreachableError):
        Car(store, folder, attempts=3).fetch()
    assert len(store.requests) <= 4


@pytest.mark.parametrize(("code", "error"), [(404, MissingError), (400, RefusedError)])
def test_what_does_not_get_better_by_itself_is_over_at_once(car, store, code, error):
    begin(car, CHUNK)
    store.always = status(code)
    with pytest.raises(error):
        car.fetch()
    assert len(store.requests) == 1
    store.always = None
    car.fetch()
    assert car.cost == len(CONTENT) - CHUNK


# bytes that may come


def test_not_a_byte_comes_that_the_budget_does_not_cover(car, store):
    with pytest.raises(BudgetError, match=f"{len(CONTENT)} bytes are missing"):
        car.fetch(budget=len(CONTENT) - 1)
    assert store.requests == []
    car.fetch(budget=len(CONTENT))


def test_bytes_that_came_in_vain_count(car, store):
    store.faults = [flip(5)]
    with pytest.raises(BudgetError):
        car.fetch(budget=2 * len(CONTENT) - 1)
    assert car.cost == len(CONTENT)


def test_a_new_beginning_that_the_budget_does_not_cover_is_not_made(car, store):
    begin(car, 2 * CHUNK)
    store.always = ignore_range
    with pytest.raises(BudgetError):
        car.fetch(budget=len(CONTENT) - 1)
    assert car.cost == 0


def test_the_link_is_asked_for_before_each_chunk(store, folder):
    asked = []

    def may(size: int) -> str | None:
        asked.append(size)
        return "the link is metered" if len(asked) == 3 else None

    car = Car(store, folder, may_download=may)
    with pytest.raises(PausedError, match="the link is metered"):
        car.fetch()
    assert asked == [CHUNK, CHUNK, CHUNK]
    assert car.cost == 2 * CHUNK
    assert car.fetch().read_bytes() == CONTENT
    assert asked[3:] == [CHUNK, len(CONTENT) - 3 * CHUNK]
    assert car.cost == len(CONTENT)


def test_the_caller_can_stop_it_at_any_byte(store, folder):
    class StopError(HaltedError):
        pass

    car = Car(store, folder)

    def received(count: int) -> None:
        car.received.append(count)
        if car.cost > CHUNK + 10:
            raise StopError("enough")

    with HttpSource(store.url, ca=store.ca) as source, pytest.raises(StopError):
        Downloader(source, car.conduct).fetch(DELIVERY, folder, None, received)
    first = car.cost
    assert first < CHUNK + 10 + (64 << 10)
    assert car.fetch().read_bytes() == CONTENT
    assert car.cost == len(CONTENT)


def test_the_caller_can_stop_it_while_it_waits(store, folder):
    store.always = status(500)

    def received(_: int) -> None:
        if waits:
            raise HaltedError("enough")

    waits: list[float] = []
    conduct = Conduct(sleep=waits.append, draw=lambda: 1.0)
    with HttpSource(store.url, ca=store.ca) as source, pytest.raises(HaltedError):
        Downloader(source, conduct).fetch(DELIVERY, folder, None, received)
    assert waits == [1.0]

"""Both repositories together: what a vehicle may install, by every rule there is.

`Trust` is the full verification of the Uptane Standard 2.1 ("Full verification" and the "How to
check ..." clauses that it refers to).  It touches no disk, no network and no clock: it is given
what has to be remembered and the system clock's time, asks for files (`bordnetz.uptane.steps`),
and ends with a `Verified` and a new `Floor`, or with an `UptaneError` of the kind in brackets.

The standard's steps, and what this adds (+):

1.  Time: the newest signed by a time key of the director's root; it never goes back [rollback],
    must once have been there [missing], and its signature counts [badSignature].  Where a time
    server answers, it has to answer this question [rollback].  The system clock is believed within
    limits (`bordnetz.uptane.time`).
2.  Director root: one version after the other, each signed by the old and the new keys
    [badSignature], with exactly its version [rollback], not below the floor [rollback], in the end
    not expired [freeze].  Were keys of timestamp or snapshot taken away, what was stored is
    forgotten (recovery from a fast-forward attack).  + Were time keys, then the time is.
3.  Director timestamp: size [endlessData], signatures [badSignature], version [rollback], expiry
    [freeze].  + It gives the snapshot's sha256 ("Timestamp metadata": SHALL) [badMetadata].
4.  Director snapshot: if the stored one has the hashes and version that the timestamp gives, there
    is nothing new.  Else hashes and version [mixAndMatch], signatures, versions of all roles, none
    of them gone [rollback], expiry.
5.  Director targets: hashes and version [mixAndMatch], signatures, expiry; no delegations
    [badMetadata]; each ECU once [repeatedEcu]; every ECU in this vehicle [unknownEcu].
    The vehicle's id, with images or without ("Metadata about images") [wrongVehicle].
    + The campaign names ECUs of this vehicle alone [unknownEcu], in an order that can be kept
    [badMetadata], and there is one where there is something to install [badMetadata].
6.  Nothing that is not installed already: that is all.
    + Nothing goes on where the newest signed time is too old [time].
7.  Image root and timestamp like 2 and 3.
8.  Image snapshot like 4; where it is unchanged, what is stored is used, and verified all the same.
9.  Image targets like 5, of which only what concerns signatures, hashes, version and expiry.
10. For each image that the director names: the image repository names it, in a role that may
    ("How to resolve delegations", with restrictions to hardware) [arbitrarySoftware]; length, all
    hashes and the custom fields are the same [arbitrarySoftware].
    The release counter is not below the floor [rollback].  + It is equal only for what is
    installed [rollback].
11. "Verify image", 3 to 5: the hardware id is the ECU's and among the image's [wrongHardware].
    + The ECU takes payloads of this kind [wrongHardware].  + The image has a sha256 and a name
    that are safe to use; as it is, it travels as what it is [badMetadata].  The hashes of the
    payload itself are for who downloads it.

Of one repository, `bordnetz.uptane.repository` has the rules; of the director's targets metadata,
`bordnetz.uptane.director`.  Not here: multi-role delegations (metadata that has them cannot be read
[badMetadata]), encrypted images, partial verification.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from securesystemslib.signer import Key
from tuf.api.metadata import Root, TargetFile

from bordnetz.uptane.custom import Campaign, ImageCustom, RootCustom
from bordnetz.uptane.director import Ecu, Order, Vehicle, read_custom, read_orders, refused
from bordnetz.uptane.errors import Kind, UptaneError
from bordnetz.uptane.floor import Floor
from bordnetz.uptane.parse import public
from bordnetz.uptane.repository import DIRECTOR, IMAGE, Repository
from bordnetz.uptane.steps import Need, Steps
from bordnetz.uptane.target import Target, Verified
from bordnetz.uptane.time import LIMIT, Reading, TimeLimits, TrustedTime, verify_time

__all__ = ["Ecu", "Roots", "Trust", "Vehicle"]


@dataclass(frozen=True, slots=True)
class Roots:
    """The root metadata that the vehicle left the factory with.

    Attributes:
        director: Of the director repository.
        image: Of the image repository.
    """

    director: bytes
    image: bytes


class Trust:
    """One verification; take a new one for the next.

    Attributes:
        director: The director repository.
        image: The image repository.
        reading: What time it is; None as long as that is not known.
        known: What time it is by the answer of a time server; None: there was none, or its key
            was taken away.
    """

    def __init__(
        self,
        vehicle: Vehicle,
        roots: Roots,
        floor: Floor,
        clock: int,
        limits: TimeLimits,
        *,
        nonce: str | None = None,
        known: int | None = None,
    ) -> None:
        """Begin.

        Args:
            vehicle: This vehicle, with what is installed on it.
            roots: Where trust comes from.
            floor: As the last verification has left it.
            clock: What the system clock says, seconds since 1970 UTC.
            limits: How far it is believed.
            nonce: Never used before, to ask a time server with; None: there is none to ask.
            known: What time it is by an earlier answer and the time since; None: there was none.
        """
        versions = floor.versions
        self.director = Repository(
            "director", roots.director, versions.get("director", {}), DIRECTOR
        )
        self.image = Repository("image", roots.image, versions.get("image", {}), IMAGE)
        self.reading: Reading | None = None
        self.known = known
        self._vehicle = vehicle
        self._floor = floor
        self._clock = clock
        self._limits = limits
        self._nonce = nonce

    @property
    def floor(self) -> Floor:
        """What must not be undercut from now on, also where the verification failed."""
        floor = self._floor
        for repository in (self.director, self.image):
            if repository.floor:
                floor = floor.with_versions(repository.name, repository.floor)
        return floor

    def check(self) -> Steps[Verified | None]:
        """Look for what the director wants.

        Returns:
            What it wants; None where its metadata is that of the last verification that ended
            well.

        Raises:
            UptaneError: Something is refused.
        """
        try:
            yield from self.director.walk()
        finally:
            self._forget_time()
        reading = yield from self._read_time()
        self.director.at(reading.now)
        yield from self._check_timestamp(self.director)
        if (yield from self.director.unchanged()):
            return None
        return (yield from self._verify(reading, reading.now))

    def recheck(self, *, expired: bool = False) -> Steps[Verified]:
        """Verify once more what was stored, before it is installed, without a new time.

        Below root, what a later check has accepted before it failed does not count: it must not be
        for a broken network, or for somebody in it, to stop what has been verified to its end.

        Args:
            expired: Whether it may have expired meanwhile.

        Raises:
            UptaneError: Something is refused, or is not there any more.
        """
        for repository in (self.director, self.image):
            repository.floor = {
                role: repository.floor[role] for role in repository.floor.keys() & {"root"}
            }
        yield from self.director.walk()
        reading = self._read_clock()
        now = 0 if expired else reading.now
        self.director.at(now)
        yield from self._check_timestamp(self.director)
        return (yield from self._verify(reading, now))

    def _verify(self, reading: Reading, now: int) -> Steps[Verified]:
        yield from self.director.check_snapshot()
        targets = yield from self.director.check_targets()
        campaign, orders = read_orders(targets, self._vehicle, self._floor)
        if all(self._installed(order) for order in orders):
            return Verified(None, (), targets.version, self.director.expires)
        if campaign is None:
            raise refused(
                Kind.BAD_METADATA, "something is to be installed, and no campaign is told"
            )
        if reading.stale:
            raise UptaneError(
                Kind.TIME,
                "the newest signed time is too old by the system clock to install anything; renew "
                "the director's metadata, and see whether the clock is right",
                "director",
                "time",
            )
        return (yield from self._verify_images(campaign, orders, targets.version, now))

    def _verify_images(
        self, campaign: Campaign, orders: list[Order], version: int, now: int
    ) -> Steps[Verified]:
        yield from self.image.walk()
        self.image.at(now)
        yield from self._check_timestamp(self.image)
        yield from self.image.check_snapshot()
        targets: list[Target] = []
        for order in orders:
            hardware = self._vehicle.ecus[order.ecu].hardware_id
            found = yield from self.image.find(order.name, hardware)
            targets.append(_matched(order, found, hardware))
        expires = min(self.director.expires, self.image.expires)
        return Verified(campaign, tuple(targets), version, expires)

    def _installed(self, order: Order) -> bool:
        ecu = self._vehicle.ecus[order.ecu]
        wanted = (order.file.hashes["sha256"], order.custom.release_counter)
        return (ecu.sha256, ecu.counter) == wanted

    # -- the signed time

    def _forget_time(self) -> None:
        """Drop the newest time if one of the keys that may have signed it was taken away."""
        lineage = self.director.lineage
        if any(_time_keys(old) - _time_keys(new) for old, new in pairwise(lineage)):
            self._floor = self._floor.with_time(TrustedTime())
            self.known = None

    def _read_time(self) -> Steps[Reading]:
        root = self.director.root
        keys = [root.keys[one] for one in _time_key_ids(root) if one in root.keys]
        if not (yield from self._ask_time(keys)):
            data = yield Need("director", "time", "time.json", LIMIT)
            trusted = self._floor.trusted_time
            if data is not None:
                self._floor = self._floor.with_time(trusted.take(verify_time(data, keys)))
            elif trusted == TrustedTime():
                text = "no signed time has ever come; publish time.json beside the metadata"
                raise UptaneError(Kind.MISSING, text, "director", "time")
        return self._read_clock()

    def _ask_time(self, keys: list[Key]) -> Steps[bool]:
        """Whether a time server has answered."""
        if self._nonce is None:
            return False
        data = yield Need("time", "time", self._nonce, LIMIT)
        if data is None:
            return False
        trusted = self._floor.trusted_time.take(verify_time(data, keys), self._nonce)
        self._floor = self._floor.with_time(trusted)
        self.known = trusted.time
        return True

    def _read_clock(self) -> Reading:
        trusted = self._floor.trusted_time
        self.reading = trusted.read(self._clock, self._limits, self.known)
        return self.reading

    def _check_timestamp(self, repository: Repository) -> Steps[None]:
        yield from repository.check_timestamp()
        if "sha256" not in (repository.timestamp.snapshot_meta.hashes or {}):
            text = "does not give the snapshot's sha256"
            raise refused(Kind.BAD_METADATA, text, repository.name, "timestamp")


def _time_key_ids(root: Root) -> list[str]:
    custom = root.unrecognized_fields.get("custom")
    return read_custom(RootCustom, custom, role="root").time_keys


def _time_keys(root: Root) -> set[str]:
    """The keys themselves; none where the root metadata does not name them as it should."""
    try:
        ids = _time_key_ids(root)
    except UptaneError:
        return set()
    return {public(root.keys[one]) for one in ids if one in root.keys}


def _matched(order: Order, found: TargetFile | None, hardware: str) -> Target:
    """Hold the director's word against the image repository's (step 10)."""
    if found is None:
        text = "an image that the director names is not there"
        raise refused(Kind.ARBITRARY_SOFTWARE, text, "image")
    if found.length != order.file.length or found.hashes != order.file.hashes:
        text = "an image is not the one that the director names"
        raise refused(Kind.ARBITRARY_SOFTWARE, text, "image")
    custom = read_custom(ImageCustom, found.custom, "image")
    if hardware not in custom.hardware_ids:
        raise refused(Kind.WRONG_HARDWARE, "an image is for other hardware", "image")
    if custom != order.custom.as_image():
        text = "the director tells other things of an image"
        raise refused(Kind.ARBITRARY_SOFTWARE, text, "image")
    return Target(
        ecu=order.ecu,
        hardware_id=hardware,
        name=order.name,
        length=order.file.length,
        hashes=dict(order.file.hashes),
        counter=custom.release_counter,
        kind=custom.kind,
        deliveries=tuple(custom.deliveries),
    )

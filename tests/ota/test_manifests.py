import pytest
from securesystemslib.signer import CryptoSigner

from bordnetz.ota.installers.installer import Installed
from bordnetz.ota.manifests import Manifests
from bordnetz.uptane.manifest import verify

MAPS = Installed("maps-7", 100, "ab" * 32, 7)


@pytest.fixture
def signer():
    return CryptoSigner.generate_ed25519()


@pytest.fixture
def make(tmp_path, signer):
    def make(now=1_800_000_000):
        hardware = {"head-unit": "hu-1", "maps": "maps-1"}
        return Manifests(
            tmp_path, "car-1", "head-unit", hardware, signer, lambda: now, lambda: now - 5
        )

    return make


def test_a_manifest_names_what_is_installed_on_every_ecu_and_is_signed(make, signer):
    manifest = verify(make().make({"maps": MAPS, "head-unit": None}), [signer.public_key])
    assert (manifest.vehicle_id, manifest.primary, manifest.time) == (
        "car-1",
        "head-unit",
        1_799_999_995,
    )
    found = {report.ecu: report.installed for report in manifest.ecus}
    assert found["head-unit"] is None
    assert (found["maps"].name, found["maps"].counter) == ("maps-7", 7)
    assert found["maps"].hashes == {"sha256": "ab" * 32}


def test_no_sequence_comes_twice_not_even_after_a_restart(make, signer):
    manifests = make()
    texts = [manifests.make({}), manifests.make({}), make().make({})]
    assert [verify(text, [signer.public_key]).sequence for text in texts] == [1, 2, 3]


def test_a_damaged_record_makes_the_sequence_jump_ahead(make, signer, tmp_path):
    make().make({})
    (tmp_path / "manifest.json").write_text("{")
    sequence = verify(make().make({}), [signer.public_key]).sequence
    assert sequence == 1_800_000_001


def test_attacks_are_told_until_newer_ones_push_them_out_and_outlive_a_restart(make, signer):
    manifests = make()
    for number in range(20):
        assert manifests.saw("rollback", "director", f"r{number}")
    attacks = verify(make().make({}), [signer.public_key]).attacks
    assert [one.role for one in attacks] == [f"r{number}" for number in range(4, 20)]


def test_the_same_attack_again_is_not_worth_another_word(make):
    manifests = make()
    assert manifests.saw("freeze", "image", "timestamp")
    assert not manifests.saw("freeze", "image", "timestamp")
    assert manifests.saw("freeze", "director", "timestamp")
    assert manifests.saw("unhealthy")


def test_what_nobody_can_name_is_told_as_unknown(make, signer):
    nameless = Installed("", 0, "", 0)
    manifest = verify(make().make({"maps": nameless}), [signer.public_key])
    assert all(report.installed is None for report in manifest.ecus)

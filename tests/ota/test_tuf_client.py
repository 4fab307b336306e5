"""The command line that conformance suites drive: what it does, keeps and answers."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from click.testing import CliRunner
from tuf.api.metadata import TargetFile
from uptane_repos import DAY, Repo, moment, new_signer

from bordnetz.edge.durable import Lock
from bordnetz.ota.tuf_client import tuf_client


@pytest.fixture
def served():
    """A web server: path to content, and the paths asked for."""

    class Served:
        files: dict[str, bytes]
        asked: list[str]

    state = Served()
    state.files, state.asked = {}, []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.asked.append(self.path)
            content = state.files.get(unquote(self.path))
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


class Client:
    def __init__(self, served, folder):
        self.repo = Repo(int(time.time()))
        self.served = served
        self.metadata = folder / "metadata"
        self.targets = folder / "targets"
        self.root = folder / "initial_root.json"
        self.metadata.mkdir()
        self.targets.mkdir()
        self.root.write_bytes(self.repo.files["1.root.json"])
        self.output = ""

    def run(self, *args):
        result = CliRunner().invoke(tuf_client, ["--metadata-dir", str(self.metadata), *args])
        self.output = result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code

    def init(self):
        return self.run("init", str(self.root))

    def refresh(self):
        self._serve()
        return self.run("--metadata-url", f"{self.served.url}/metadata", "refresh")

    def download(self, *names):
        self._serve()
        urls = [
            *("--metadata-url", f"{self.served.url}/metadata/"),
            *("--target-base-url", f"{self.served.url}/targets"),
        ]
        wanted = [part for name in names for part in ("--target-name", name)]
        return self.run(*urls, *wanted, "--target-dir", str(self.targets), "download")

    def add(self, name, content, role="targets"):
        file = TargetFile.from_data(name, content)
        self.repo.signed(role).targets[name] = file
        self.served.files[f"/targets/{file.get_prefixed_paths()[0]}"] = content

    def kept(self):
        return {path.name: path.read_bytes() for path in self.metadata.glob("*.json")}

    def downloaded(self):
        return {path.name: path.read_bytes() for path in self.targets.iterdir()}

    def _serve(self):
        self.served.asked.clear()
        for name, content in self.repo.files.items():
            self.served.files[f"/metadata/{name}"] = content


@pytest.fixture
def client(served, tmp_path):
    return Client(served, tmp_path)


def test_init_trusts_the_root_and_asks_for_nothing(client):
    assert client.init() == 0
    assert client.kept() == {"root.json": client.repo.files["1.root.json"]}
    assert client.served.asked == []


def test_init_without_a_file_fails(client):
    client.root.unlink()
    assert client.init() == 1
    assert "there is no file" in client.output


def test_refresh_keeps_each_role_as_it_was_served(client):
    client.repo.publish_root()
    assert client.init() == 0
    assert client.refresh() == 0
    assert client.kept() == {
        "root.json": client.repo.files["2.root.json"],
        "timestamp.json": client.repo.files["timestamp.json"],
        "snapshot.json": client.repo.files["1.snapshot.json"],
        "targets.json": client.repo.files["1.targets.json"],
    }


def test_refresh_before_init_fails_and_says_what_to_do(client):
    assert client.refresh() == 1
    assert "begin with `init`" in client.output


def test_a_second_refresh_asks_only_for_what_may_be_new(client):
    client.init()
    client.refresh()
    assert client.refresh() == 0
    assert client.served.asked == ["/metadata/2.root.json", "/metadata/timestamp.json"]


def test_a_refused_refresh_fails_and_keeps_what_came_before(client):
    client.init()
    client.refresh()
    client.repo.signers["snapshot"] = [new_signer()]
    client.repo.publish()
    before = client.kept()
    assert client.refresh() == 1
    assert "snapshot: signed by 0 of the 1 keys" in client.output
    after = client.kept()
    assert after.pop("timestamp.json") == client.repo.files["timestamp.json"]
    before.pop("timestamp.json")
    assert after == before


def test_an_older_repository_is_refused_also_with_the_metadata_lost(client):
    client.init()
    old = client.repo.files["timestamp.json"]
    client.repo.publish()
    client.refresh()
    client.repo.files["timestamp.json"] = old
    (client.metadata / "timestamp.json").unlink()
    assert client.refresh() == 1
    assert "older than one accepted before" in client.output


def test_a_floor_that_is_gone_or_damaged_is_refused(client):
    client.init()
    client.refresh()
    (client.metadata / "floor").write_bytes(b"{}")
    assert client.refresh() == 1
    assert "floor record is damaged" in client.output
    (client.metadata / "floor").unlink()
    assert client.refresh() == 1
    assert "no floor" in client.output


def test_metadata_that_has_expired_is_refused(client):
    client.init()
    client.repo.timestamp.expires = moment(int(time.time()) - DAY)
    client.repo.publish_timestamp()
    assert client.refresh() == 1
    assert client.kept().keys() == {"root.json"}


def test_keys_taken_away_take_what_they_had_signed(client):
    client.init()
    client.repo.timestamp.version = 100
    client.repo.publish_timestamp()
    assert client.refresh() == 0
    client.repo.rotate("timestamp")
    client.repo.signers["timestamp"] = [new_signer()]
    client.repo.publish_timestamp()
    assert client.refresh() == 1
    assert client.kept().keys() == {"root.json"}


def test_targets_are_downloaded_in_order_and_once(client):
    client.add("one", b"1")
    client.add("path/to/two", b"2")
    client.repo.publish()
    client.init()
    assert client.download("one", "path/to/two") == 0
    assert client.downloaded() == {"one": b"1", "path%2Fto%2Ftwo": b"2"}
    assert client.download("one") == 0
    assert not any("targets/" in path for path in client.served.asked)


def test_a_target_that_changes_replaces_the_old_one(client):
    client.add("one", b"1")
    client.repo.publish()
    client.init()
    client.download("one")
    client.add("one", b"other")
    client.repo.publish()
    assert client.download("one") == 0
    assert client.downloaded() == {"one": b"other"}


def test_the_first_target_that_fails_ends_the_command(client):
    client.add("one", b"1")
    client.add("two", b"2")
    client.repo.publish()
    client.init()
    assert client.download("one", "nowhere", "two") == 1
    assert "no role names the target" in client.output
    assert client.downloaded() == {"one": b"1"}


@pytest.mark.parametrize("served_content", [b"bad", b"longer than it may be", b""])
def test_a_target_that_is_another_one_leaves_nothing_behind(client, served_content):
    client.add("one", b"new")
    client.repo.publish()
    client.init()
    path = next(path for path in client.served.files if path.startswith("/targets/"))
    client.served.files[path] = served_content
    assert client.download("one") == 1
    assert client.downloaded() == {}


def test_a_target_that_is_missing_fails(client):
    client.add("one", b"new")
    client.repo.publish()
    client.init()
    client.served.files.clear()
    assert client.download("one") == 1
    assert client.downloaded() == {}


def test_a_delegated_role_of_any_name_is_one_file(client):
    client.repo.delegate("../role", ["*"])
    client.add("one", b"new", role="../role")
    client.repo.publish()
    client.init()
    assert client.download("one") == 0
    assert "/metadata/2...%2Frole.json" in client.served.asked
    assert client.kept()["..%2Frole.json"] == client.repo.files["2.../role.json"]


@pytest.mark.parametrize(
    ("args", "missing"),
    [
        (["refresh"], "--metadata-url"),
        (["--metadata-url", "http://127.0.0.1:1/", "download"], "--target-base-url"),
    ],
)
def test_an_option_that_is_missing_is_named(client, args, missing):
    client.init()
    assert client.run(*args) == 1
    assert f"{missing} is missing" in client.output


def test_a_server_that_is_not_there_fails(client):
    client.init()
    assert client.run("--metadata-url", "http://127.0.0.1:1/", "refresh") == 1


def test_two_at_once_do_not_work_in_one_folder(client):
    client.init()
    with Lock(client.metadata / "lock"):
        assert client.refresh() == 1
    assert "in use by another process" in client.output

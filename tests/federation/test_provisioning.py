"""Kits, certificates, requests, the roster's versions: what a consortium hands out and takes back."""

from __future__ import annotations

import configparser
import datetime
import ipaddress
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from fedlearn.cli.main import main
from fedlearn.config import validated
from fedlearn.errors import ConfigError, MalformedMessage, RunDirectoryError, TamperedMessage, UnsafeFile
from fedlearn.federation.private_files import read_signing_key
from fedlearn.federation.provisioning import keys
from fedlearn.federation.provisioning.certificates import new_authority, new_server
from fedlearn.federation.provisioning.config import FederationConfig
from fedlearn.federation.provisioning.kits import Kits
from fedlearn.federation.server.config import ServerConfig
from fedlearn.federation.site.config import SiteConfig
from tests.federation.sites import kits_in

NOW = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
SITES = ["oslo", "rome", "york"]
KIT_OR_DATA = {".", "./nginx.conf", "${FEDLEARN_DATA"}


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Kits:
    return kits_in(tmp_path_factory.mktemp("made") / "kits", sites=SITES)


def test_every_kit_parses_and_holds_its_own_keys(kits: Kits) -> None:
    roster = kits.roster()
    assert (roster.version, list(roster.members)) == (1, SITES)
    assert ServerConfig.load(kits.server / "server.toml").name == "test"
    assert read_signing_key(kits.server / "signing.key").public == roster.server
    for name in SITES:
        config = SiteConfig.load(kits.site(name) / "site.toml")
        assert config.site == name
        assert read_signing_key(config.path(config.key)).public == roster.members[name].key
        node = load_ssh_private_key(config.path(config.link.node_key).read_bytes(), password=None)
        assert isinstance(node, ec.EllipticCurvePrivateKey)
        assert node.public_key() == load_ssh_public_key(roster.members[name].node.encode())


def test_private_keys_are_private_and_no_kit_holds_anothers(kits: Kits) -> None:
    private = [path for path in kits.folder.rglob("*.key") if path.is_file()]
    assert len(private) == 2 + 2 + 2 * len(SITES)
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert {path.name for path in kits.server.glob("*.key")} == {"server.key", "signing.key"}
    assert {path.name for path in kits.site("oslo").glob("*.key")} == {"site.key", "node.key"}
    assert len({path.read_bytes() for path in private}) == len(private)


def verified(ca: bytes, certificate: bytes, *, name: str, now: datetime.datetime) -> None:
    subject: x509.GeneralName
    try:
        subject = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        subject = x509.DNSName(name)
    store = Store([x509.load_pem_x509_certificate(ca)])
    verifier = PolicyBuilder().store(store).time(now).build_server_verifier(subject)
    verifier.verify(x509.load_pem_x509_certificate(certificate), [])


@pytest.mark.parametrize("name", ["fl.example.org", "10.1.2.3"])
def test_the_servers_certificate_chains_for_each_of_its_names(name: str) -> None:
    authority = new_authority("test", now=NOW)
    pair = new_server(authority, names=["fl.example.org", "10.1.2.3"], days=90, now=NOW)
    verified(authority.certificate, pair.certificate, name=name, now=NOW)
    with pytest.raises(VerificationError):
        verified(authority.certificate, pair.certificate, name="evil.example.org", now=NOW)
    with pytest.raises(VerificationError):
        verified(authority.certificate, pair.certificate, name=name, now=NOW + datetime.timedelta(days=91))
    with pytest.raises(VerificationError):
        verified(new_authority("other", now=NOW).certificate, pair.certificate, name=name, now=NOW)


def test_a_server_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one name"):
        new_server(new_authority("test", now=NOW), names=[], days=1, now=NOW)


def test_a_certificate_is_renewed_under_the_same_authority(tmp_path: Path) -> None:
    kits = kits_in(tmp_path / "kits", sites=["oslo"])
    before = (kits.server / "server.pem").read_bytes()
    kits.renew_certificate()
    after = (kits.server / "server.pem").read_bytes()
    assert after != before
    now = datetime.datetime.now(datetime.UTC)
    verified((kits.site("oslo") / "ca.crt").read_bytes(), after, name="127.0.0.1", now=now)


def test_no_private_key_travels_when_sites_make_their_own(tmp_path: Path) -> None:
    kits = kits_in(tmp_path / "kits", sites=SITES, keys="site")
    assert not list((kits.folder / "sites").rglob("*.key"))
    assert kits.roster().members == {}
    settings = kits.site("oslo") / "site.toml"
    assert main(["site", "keygen", "--config", str(settings)]) == 0
    request = kits.site("oslo") / "request.json"
    secret = (kits.site("oslo") / "site.key").read_text().strip()
    assert secret not in request.read_text()
    assert main(["provision", "sign", str(request), "--kits", str(kits.folder)]) == 0
    roster = kits.roster()
    assert (roster.version, list(roster.members)) == (2, ["oslo"])
    assert roster.members["oslo"].key == read_signing_key(kits.site("oslo") / "site.key").public
    assert main(["site", "keygen", "--config", str(settings)]) == UnsafeFile.exit_code


def test_a_request_is_signed_by_its_own_key(tmp_path: Path) -> None:
    request = keys.make_keys("oslo", key=tmp_path / "a", node_key=tmp_path / "b")
    file = tmp_path / "request.json"
    file.write_bytes(keys.encode(request))
    assert keys.read_request(file) == request
    file.write_bytes(keys.encode(request).replace(b'"oslo"', b'"rome"'))
    with pytest.raises(TamperedMessage):
        keys.read_request(file)
    for junk in (b"", b"{}", b"[" * 10_000, b"\xff"):
        file.write_bytes(junk)
        with pytest.raises(MalformedMessage):
            keys.read_request(file)
    with pytest.raises(MalformedMessage, match="cannot be read"):
        keys.read_request(tmp_path / "missing")


def test_a_stranger_cannot_be_enrolled(kits: Kits, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none of the federation"):
        kits.enrol(keys.make_keys("evil", key=tmp_path / "a", node_key=tmp_path / "b"))


def test_revoking_makes_the_rosters_next_version_in_every_kit(tmp_path: Path) -> None:
    kits = kits_in(tmp_path / "kits", sites=SITES)
    assert main(["provision", "revoke", "rome", "--kits", str(kits.folder)]) == 0
    assert list(kits.roster().members) == ["oslo", "york"]
    rosters = {path.read_bytes() for path in kits.folder.rglob("roster.bin")}
    assert len(rosters) == 1
    assert main(["provision", "revoke", "rome", "--kits", str(kits.folder)]) == ConfigError.exit_code
    assert main(["provision", "revoke", "--kits", str(kits.folder)]) == ConfigError.exit_code


@pytest.mark.parametrize("made_at", ["kit", "site"])
def test_a_site_that_is_added_has_a_kit_like_the_others(tmp_path: Path, made_at: str) -> None:
    kits = kits_in(tmp_path / "kits", sites=SITES, keys=made_at)
    version = kits.roster().version
    assert main(["provision", "add", "bergen", "--kits", str(kits.folder)]) == 0
    kits = Kits.open(kits.folder)
    assert kits.config.sites == [*SITES, "bergen"]
    assert ("bergen" in kits.roster().members) == (made_at == "kit")
    assert kits.roster().version == version + 1
    files = {name: {path.name for path in kits.site(name).iterdir()} for name in ("bergen", "oslo")}
    assert files["bergen"] == files["oslo"]
    with pytest.raises(ConfigError, match="already"):
        kits.add("oslo")
    with pytest.raises(ConfigError, match="sites"):
        kits.add("../rome")


def test_keys_are_never_overwritten(kits: Kits) -> None:
    with pytest.raises(RunDirectoryError, match="never overwritten"):
        Kits.create(kits.config, kits.folder)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"sites": ["a", "a"]}, "two sites have one name"),
        ({"sites": ["../a"]}, "sites.0"),
        ({"sites": []}, "sites"),
        ({"servre": {}}, "servre is not a key. Did you mean 'server'?"),
    ],
)
def test_a_mistake_in_federation_toml_is_one_line(change: dict[str, object], line: str) -> None:
    values = {"name": "t", "sites": ["a"], "server": {"names": ["x"]}, **change}
    with pytest.raises(ConfigError, match=line):
        validated(FederationConfig, values)


def test_the_units_keep_agent_and_link_apart(kits: Kits) -> None:
    agent, link = (unit(kits, part) for part in ("agent", "link"))
    assert agent["Service"]["User"] != link["Service"]["User"]
    assert link["Service"]["InaccessiblePaths"] == "-/var/lib/fedlearn"
    for one in (agent, link):
        assert one["Service"]["NoNewPrivileges"] == "yes"
        assert one["Service"]["ProtectSystem"] == "strict"
    assert agent["Service"]["IPAddressDeny"] == "any"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(kits: Kits, tmp_path: Path) -> None:
    for file in [*kits.site("oslo").glob("*.service"), *kits.server.glob("*.service")]:
        text = file.read_text().replace("/opt/fedlearn/bin/fedlearn", "/bin/true")
        (tmp_path / file.name).write_text(text)
    command = ["systemd-analyze", "verify", *map(str, sorted(tmp_path.glob("*.service")))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("kit", ["server", "sites/oslo"])
def test_containers_get_their_files_before_they_start(kits: Kits, kit: str) -> None:
    compose = yaml.safe_load((kits.folder / kit / "compose.yaml").read_text())
    services, volumes = compose["services"], set(compose["volumes"])
    for name, service in services.items():
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= volumes | KIT_OR_DATA
        if name not in {"setup", "proxy"}:
            assert service["depends_on"] == {"setup": {"condition": "service_completed_successfully"}}
            assert service["user"].partition(":")[0] != "0"


def unit(kits: Kits, part: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(kits.site("oslo") / f"fedlearn-{part}.service")
    return parser


def test_the_proxy_forwards_the_fleet_path_only(kits: Kits) -> None:
    text = (kits.server / "nginx.conf").read_text()
    assert "location /v1/fleet/ {" in text
    assert "location / { return 403; }" in text

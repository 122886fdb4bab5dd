import json
import re
import shutil
import subprocess
import threading

import pytest

from semise_sdk.bundle import MANIFEST, Bundle, pack, sign, signing, write_manifest
from semise_sdk.bundle.signing import SIGNATURE, check_signature, new_key, own_work, required_key, signature_of
from semise_sdk.errors import BundleError, ConfigError, OutputError
from semise_sdk.predictor import Predictor

VARIABLE = "SEMISE_PUBLIC_KEY"


@pytest.fixture(autouse=True)
def _no_key_of_the_machine(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def key(tmp_path):
    new_key(tmp_path / "keys" / "hospital")
    return tmp_path / "keys" / "hospital"


@pytest.fixture
def public(key):
    return key.with_name("hospital.pub")


@pytest.fixture
def folder(write_colour_bundle, tmp_path):
    return write_colour_bundle(tmp_path / "bundle")


def test_the_private_key_is_its_owners_and_none_is_overwritten(key, public):
    assert key.stat().st_mode & 0o077 == 0
    assert b"PRIVATE" not in public.read_bytes()
    before = key.read_bytes()
    with pytest.raises(ConfigError, match="a key is never overwritten"):
        new_key(key)
    key.rename(key.with_name("moved"))
    with pytest.raises(ConfigError, match=r"hospital\.pub, found one"):
        new_key(key)
    assert key.with_name("moved").read_bytes() == before


def test_a_key_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not write"):
        new_key(tmp_path / "file" / "key")


@pytest.mark.parametrize("packed", [False, True])
def test_a_signed_bundle_opens_with_its_key_and_with_none(folder, key, public, packed, tmp_path):
    source = folder
    if packed:
        source = tmp_path / "a.semise"
        pack(folder, source)
    sign(source, key)
    sign(source, key)
    with Bundle.open(source, public_key=public) as bundle:
        assert bundle.signature == f"of {bundle.signed_by}"
        assert bundle.signed_by.startswith("ed25519:")
    with Bundle.open(source, public_key=public.read_bytes()) as bundle:
        assert bundle.signed_by
    with Bundle.open(source) as bundle:
        assert (bundle.signed_by, bundle.signature) == (None, "not checked: give --public-key")
    with Predictor.open(source, public_key=public) as predictor:
        assert predictor.name == "colour"


def test_a_signature_travels_in_the_archive(folder, key, public, tmp_path):
    sign(folder, key)
    pack(folder, tmp_path / "a.semise")
    with Bundle.open(tmp_path / "a.semise", public_key=public) as bundle:
        assert bundle.signed_by


def test_openssl_agrees(folder, key, public, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    sign(folder, key)
    data = json.loads((folder / SIGNATURE).read_bytes())
    (tmp_path / "raw").write_bytes(bytes.fromhex(data["signature"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", folder / MANIFEST]
    done = subprocess.run([*command, "-sigfile", tmp_path / "raw"], capture_output=True, text=True, check=False)
    assert "Verified Successfully" in done.stdout


def test_where_a_key_is_required_an_unsigned_bundle_is_refused(folder, public, monkeypatch):
    with pytest.raises(BundleError, match=r"signed by ed25519:[0-9a-f]{16}, found no signature\.json"):
        Bundle.open(folder, public_key=public)
    monkeypatch.setenv(VARIABLE, str(public))
    for opened in (Bundle.open, Predictor.open):
        with pytest.raises(BundleError, match=r"found no signature\.json"):
            opened(folder)
    monkeypatch.setenv(VARIABLE, "")
    assert Bundle.open(folder).name == "colour"


def test_another_key_is_refused(folder, key, public, tmp_path):
    other = new_key(tmp_path / "other")
    sign(folder, key)
    named = re.escape(check_signature((folder / MANIFEST).read_bytes(), (folder / SIGNATURE).read_bytes(), public))
    with pytest.raises(BundleError, match=f"found a signature that names {named} and is of another key or for another"):
        Bundle.open(folder, public_key=other)
    data = json.loads((folder / SIGNATURE).read_bytes())
    for key_named in ("no hexadecimal digits", 5, None):
        (folder / SIGNATURE).write_text(json.dumps({**data, "public_key": key_named}))
        assert Bundle.open(folder, public_key=public).signed_by
        with pytest.raises(BundleError, match="found a signature that names no key and is of another key"):
            Bundle.open(folder, public_key=other)


def test_a_signature_is_of_one_manifest(folder, key, public):
    sign(folder, key)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["name"] = "better"
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert Bundle.open(folder).name == "better"
    with pytest.raises(BundleError, match="of another key or for another bundle"):
        Bundle.open(folder, public_key=public)


def test_a_signature_is_checked_before_the_manifest_is_parsed(folder, key, public):
    sign(folder, key)
    (folder / MANIFEST).write_bytes(b"{" * 100_000)
    with pytest.raises(BundleError, match="of another key or for another bundle"):
        Bundle.open(folder, public_key=public)


def test_a_changed_file_is_found_beside_a_sound_signature(folder, key, public):
    sign(folder, key)
    with (folder / "encoder.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match="altered"):
        Bundle.open(folder, public_key=public)


def test_a_new_manifest_has_no_signature(folder, key):
    sign(folder, key)
    manifest = Bundle.open(folder).manifest
    write_manifest(folder, model=manifest.model, graphs=manifest.graphs)
    assert not (folder / SIGNATURE).exists()
    assert Bundle.open(folder).signature == "none"


def changed(**fields):
    return lambda data: json.dumps({**data, **fields})


@pytest.mark.parametrize(
    "change",
    [
        changed(signature="00"),
        changed(signature="zz"),
        changed(signature=5),
        changed(algorithm="none"),
        changed(schema=2),
        changed(format=None),
        lambda data: "[]",
        lambda data: "[" * 5000,
        lambda data: "\xff\xfe",
        lambda data: json.dumps({key: value for key, value in data.items() if key != "signature"}),
    ],
)
def test_a_damaged_signature_is_refused(folder, key, public, change):
    sign(folder, key)
    data = json.loads((folder / SIGNATURE).read_bytes())
    with pytest.raises(BundleError, match=r"^expected .*signature\.json .*, found .*: do not use this bundle$"):
        check_signature(b"", change(data).encode(), public)
    (folder / SIGNATURE).write_bytes(b"x" * (signing.MAX_BYTES + 1))
    with pytest.raises(BundleError, match="of at most 16,384 bytes, found 16,385"):
        Bundle.open(folder, public_key=public)


def test_the_key_in_the_signature_is_trusted_by_nobody(folder, key, public, tmp_path):
    """An attacker signs with a key of their own and writes the hospital's beside it."""
    sign(folder, key)
    honest = json.loads((folder / SIGNATURE).read_bytes())
    new_key(tmp_path / "attacker")
    forged = json.loads(signature_of((folder / MANIFEST).read_bytes(), tmp_path / "attacker"))
    (folder / SIGNATURE).write_text(json.dumps({**forged, "public_key": honest["public_key"]}))
    with pytest.raises(BundleError, match="of another key"):
        Bundle.open(folder, public_key=public)


def test_a_run_folder_is_refused_where_a_key_is_required(tmp_path, public):
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    (tmp_path / "run" / "checkpoint" / "model.json").write_text("{}")
    with pytest.raises(BundleError, match="expected a signed bundle, found run folder"):
        Predictor.open(tmp_path / "run", public_key=public)


@pytest.mark.parametrize("content", [b"", b"no key", b"\xff" * 99])
def test_what_is_no_key_is_refused(folder, tmp_path, content, key):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(ConfigError, match=r"expected .*bad to be a public key in PEM"):
        Bundle.open(folder, public_key=tmp_path / "bad")
    with pytest.raises(ConfigError, match="expected the public key to be"):
        Bundle.open(folder, public_key=content)
    with pytest.raises(ConfigError, match="to hold a private key"):
        sign(folder, tmp_path / "bad")
    with pytest.raises(ConfigError, match="that can be read"):
        sign(folder, tmp_path / "nowhere")
    assert not (folder / SIGNATURE).exists()


def test_keys_of_another_kind_are_refused(folder, tmp_path):
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "ec").write_bytes(private.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()))
    public = private.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(ConfigError, match="an Ed25519 key, found ECPrivateKey"):
        sign(folder, tmp_path / "ec")
    with pytest.raises(ConfigError, match="an Ed25519 key, found ECPublicKey"):
        Bundle.open(folder, public_key=public)


def test_a_passphrase_opens_the_key(folder, tmp_path):
    public = new_key(tmp_path / "locked", passphrase=b"secret")
    for wrong in (None, b"other"):
        with pytest.raises(ConfigError, match="give --passphrase"):
            sign(folder, tmp_path / "locked", passphrase=wrong)
    sign(folder, tmp_path / "locked", passphrase=b"secret")
    assert Bundle.open(folder, public_key=public).signed_by


def test_own_work_needs_no_signature_of_the_environment_but_a_key_that_is_given_counts(folder, public, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(public))
    elsewhere = []
    with own_work():
        assert Bundle.open(folder).name == "colour"
        with pytest.raises(BundleError, match="found no signature"):
            Bundle.open(folder, public_key=public)
        thread = threading.Thread(target=lambda: elsewhere.append(required_key(None)))
        thread.start()
        thread.join()
    assert elsewhere == [str(public)]
    assert required_key(None) == str(public)


def test_without_cryptography_a_required_key_refuses_and_names_the_extra(folder, public, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    with pytest.raises(ConfigError, match=r"pip install 'semise-sdk\[sign\]'"):
        Bundle.open(folder, public_key=public)
    assert Bundle.open(folder).name == "colour"


def test_an_unsound_bundle_is_not_signed(folder, key):
    (folder / "extra.json").write_text("{}")
    with pytest.raises(BundleError, match="found also"):
        sign(folder, key)
    assert not (folder / SIGNATURE).exists()


def test_a_manifest_cannot_list_the_signature(folder, key):
    sign(folder, key)
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][SIGNATURE] = "0" * 64
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"expected signature\.json in the bundle, found it missing"):
        Bundle.open(folder)

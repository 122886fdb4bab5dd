"""Names under ``keep``, ``hash`` and ``drop``, and the key of the pseudonyms."""

import hmac
import os
import re
from pathlib import Path

import pytest

from semise_sdk.errors import ConfigError, OutputError
from semise_sdk.images.readers import read_image
from semise_sdk.privacy import Privacy, make_key, parse_phi, read_key
from semise_sdk.results import Severity

KEY = bytes(range(32))


def test_a_pseudonym_is_the_hmac_of_the_name():
    expected = hmac.new(KEY, b"file\0DOE_JANE.png", "sha256").hexdigest()[:16]
    assert Privacy("hash", KEY).name("DOE_JANE.png", 1) == f"p-{expected}"
    assert Privacy("hash", KEY).name("DOE_JANE.png", 2) == f"p-{expected}"
    assert Privacy("hash", bytes(32)).name("DOE_JANE.png", 1) != f"p-{expected}"
    assert Privacy("keep", KEY).name("DOE_JANE.png", 1) == "DOE_JANE.png"
    assert Privacy("drop", KEY).name("DOE_JANE.png", 7) == "image-000007"


def test_the_key_is_not_shown():
    assert "01020304" not in repr(Privacy("hash", KEY))
    assert "\\x01" not in repr(Privacy("hash", KEY))


@pytest.mark.parametrize("name", ["DOE_JANE.png", 'DOE\'s "x".png', "a/DOE\n.png", "Li", "D\udcffE", "ДОЕ.png"])
def test_no_spelling_of_a_name_stays_in_a_reason(name, tmp_path):
    path = tmp_path / name
    reason = f"truncated: {path.name!r}: expected a complete image at {str(path)!r}, found {name!a} and {path.name!a}"
    told = Privacy("hash", KEY).reason(reason, shown="p-1", file=name, path=path)
    assert told == "truncated: p-1: expected a complete image at p-1, found p-1 and p-1"
    assert Privacy("keep").reason(reason, shown=name, file=name, path=path) == reason
    dropped = Privacy("drop").reason(reason, shown="image-000001", file=name, path=path)
    assert dropped == "truncated: what was found is left out under --phi drop; --phi keep tells it"


def test_a_bare_name_and_path_are_replaced_too(tmp_path):
    path = tmp_path / "DOE.png"
    told = Privacy("hash", KEY).reason(f"x: {path} or ward/DOE.png", shown="p-1", file="ward/DOE.png", path=path)
    assert told == "x: p-1 or p-1"


@pytest.mark.parametrize(
    ("reason", "code"), [("", ""), ("no code at all", "unnamed"), ("DOE JANE: found", "unnamed"), ("a_1: b", "a_1")]
)
def test_of_a_reason_only_its_code_survives_drop(reason, code):
    told = Privacy("drop").reason(reason, shown="image-000001", file="a")
    assert told.partition(":")[0] == code
    assert "DOE" not in told


def test_the_sentences_of_the_readers_lose_the_name(tmp_path):
    from semise_sdk.errors import ImageReadError

    path = tmp_path / "DOE_JANE.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(ImageReadError) as error:
        read_image(path)
    told = Privacy("hash", KEY).reason(error.value.reason, shown="p-1", file=path.name, path=path)
    assert re.fullmatch(r"[a-z_]+: p-1: expected .*", told)


def test_an_answer_is_veiled_whole():
    answer = Severity(file="DOE.png", status="error", reason="damaged: 'DOE.png': expected a, found b")
    told = Privacy("hash", KEY).veiled(answer, number=3, path=Path("/ward/DOE.png"))
    assert told.file.startswith("p-")
    assert told.reason == f"damaged: {told.file}: expected a, found b"
    assert Privacy("drop").veiled(answer, number=3).file == "image-000003"
    assert Privacy("keep").veiled(answer, number=3) is answer


def test_something_that_is_no_answer_is_a_defect():
    with pytest.raises(TypeError, match="expected an answer with file and reason, found object"):
        Privacy("drop").veiled(object(), number=1)


def test_a_key_is_made_once_for_its_owner_alone(tmp_path):
    path = tmp_path / "key"
    key = make_key(path)
    assert len(key) == 32
    assert read_key(path) == key
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(OutputError, match="could not write"):
        make_key(path)
    assert read_key(path) == key


@pytest.mark.parametrize("text", [b"", b"ab", b"g" * 64, b"a" * 63, b"a" * 65, bytes(64), b"a" * 64 + b"\nmore"])
def test_what_is_no_key_is_refused(text, tmp_path):
    path = tmp_path / "key"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=f"key of 64 hexadecimal digits, found {len(text)} bytes that are none in "):
        read_key(path)


def test_a_key_that_is_missing_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="openssl rand -hex 32"):
        read_key(tmp_path / "nothing")


@pytest.mark.skipif(os.name != "posix", reason="needs the modes of POSIX files")
def test_a_key_that_others_can_read_is_refused(tmp_path):
    make_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(ConfigError, match="expected a key that only its owner can read"):
        read_key(tmp_path / "key")


def test_an_unknown_policy_is_refused():
    assert [parse_phi(text) for text in ("keep", "hash", "drop")] == ["keep", "hash", "drop"]
    with pytest.raises(ConfigError, match="expected --phi keep, hash, drop, found 'none'"):
        parse_phi("none")

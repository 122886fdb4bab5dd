import hashlib
import os

import pytest

from semise_sdk.bundle.integrity import check_name, hash_file, list_files, read_limited, read_verified, verify
from semise_sdk.errors import BundleError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "golden").mkdir()
    (tmp_path / "a.json").write_bytes(b"{}")
    (tmp_path / "golden" / "b.png").write_bytes(b"png")
    return tmp_path


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("name", ["a.json", "golden/b.png", "encoder_fp16.onnx", "MODEL_CARD.md", "x-1+2.safetensors"])
def test_plain_names_pass(name):
    check_name(name)


@pytest.mark.parametrize(
    "name",
    ["../a.json", "a/../b.json", "/etc/a.json", "a\\b.json", "C:a.json", "./a.json", "a//b.json", ".hidden.json", "",
     "a.json/", "sp ace.json", "nul\0.json", "g/.x.json", "ü.json", "a.json\n"],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(BundleError, match="plain relative file names"):
        check_name(name)


@pytest.mark.parametrize("name", ["a.engine", "a.PLAN", "sub/a.trt"])
def test_engines_are_refused(name):
    with pytest.raises(BundleError, match="engines are built on this machine only"):
        check_name(name)


@pytest.mark.parametrize("name", ["a.pkl", "a.pt", "a.PTH", "a.npz", "a.joblib", "pytorch_model.bin"])
def test_pickles_are_refused(name):
    with pytest.raises(BundleError, match="pickle"):
        check_name(name)


@pytest.mark.parametrize("name", ["a.py", "a", "a.so", "a.onnx.data"])
def test_other_kinds_of_file_are_refused(name):
    with pytest.raises(BundleError, match="expected files of"):
        check_name(name)


def test_files_are_listed_by_relative_name(folder):
    assert list_files(folder) == {"a.json": folder / "a.json", "golden/b.png": folder / "golden" / "b.png"}


@pytest.mark.parametrize("target", ["a.json", "/etc/passwd", "nowhere.json", "golden"])
def test_links_are_refused_wherever_they_lead(folder, target):
    (folder / "link.json").symlink_to(target)
    with pytest.raises(BundleError, match=r"found a link: 'link\.json'"):
        list_files(folder)


def test_a_pipe_is_refused_without_waiting_for_its_writer(folder):
    os.mkfifo(folder / "pipe.json")
    with pytest.raises(BundleError, match="pipe, socket or device"):
        list_files(folder)
    with pytest.raises(BundleError, match=r"pipe\.json to be a file, found a pipe, socket or device"):
        hash_file(folder / "pipe.json")


def test_a_link_is_never_followed_when_read(folder):
    (folder / "link.json").symlink_to("a.json")
    with pytest.raises(BundleError, match="could not read"):
        hash_file(folder / "link.json")


def test_reading_proves_the_content(folder):
    assert read_verified(folder / "a.json", digest(b"{}")) == b"{}"
    with pytest.raises(BundleError, match=r"a\.json .*altered or damaged"):
        read_verified(folder / "a.json", digest(b"{ }"))
    with pytest.raises(BundleError, match="could not read"):
        read_verified(folder / "c.json", digest(b""))


def test_verify_names_what_differs(folder):
    files = list_files(folder)
    promised = {"a.json": digest(b"{}"), "golden/b.png": digest(b"png")}
    verify(files, promised)
    with pytest.raises(BundleError, match=r"expected c\.json in the bundle, found it missing"):
        verify(files, {**promised, "c.json": digest(b"")})
    with pytest.raises(BundleError, match=r"found also golden/b\.png"):
        verify(files, {"a.json": promised["a.json"]})
    with pytest.raises(BundleError, match=r"golden/b\.png .*altered"):
        verify(files, {**promised, "golden/b.png": digest(b"other")})


def test_reading_is_limited(folder):
    assert read_limited(folder / "a.json", 2) == b"{}"
    with pytest.raises(BundleError, match=r"a\.json of at most 1 bytes, found 2"):
        read_limited(folder / "a.json", 1)
    (folder / "link.json").symlink_to("a.json")
    for name in ("link.json", "nowhere.json"):
        with pytest.raises(BundleError, match="could not read"):
            read_limited(folder / name, 100)

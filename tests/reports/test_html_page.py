import sys

import pytest

from semise_sdk.errors import ConfigError
from semise_sdk.reports.html_page import page_file, require_jinja, source_hash


def test_the_command_that_brings_the_package_is_named(monkeypatch):
    pytest.importorskip("jinja2", reason="needs jinja2: pip install 'semise-sdk[report]'")
    require_jinja()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ConfigError, match=r"pip install 'semise-sdk\[report\]'"):
        require_jinja()


def test_a_source_is_known_by_the_hash_that_a_browser_computes():
    # the example of the W3C specification of Content Security Policy
    assert source_hash("alert('Hello, world.');") == "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="


@pytest.mark.parametrize("package", ["semise_sdk.reports.timeline", "semise_sdk.reports.worklist"])
def test_pages_carry_their_own_style(package):
    assert "{" in page_file(package, "page.css")
    with pytest.raises(FileNotFoundError):
        page_file(package, "missing.css")

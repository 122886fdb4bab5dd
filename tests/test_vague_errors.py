"""An error names what was found: the places that may not are listed here, each with its reason."""

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = ("semise_sdk", "training/semise_training", "export/semise_export")

# What follows in brackets names it: "found another (int8)".
_VAGUE = re.compile(
    r"\bfound (otherwise|another|others?|something else|none of them|neither|more|less|fewer|several|no such|it wrong)"
    r"\b(?! \(\{)"
)

MAY_BE_VAGUE = {
    "semise_sdk/errors.py": (1, "OptionError.without_values: what --phi lets be logged"),
    "semise_sdk/cli/messages.py": (5, "what is said in the place of an error that --phi hides"),
    "semise_sdk/cli/commands/merge.py": (1, "a hash of reference images, which may be of patients"),
    "semise_sdk/images/isolation/answers.py": (1, "a header that another process sent: it may quote the image's name"),
    "semise_sdk/images/readers/__init__.py": (1, "the content of a file that is no image"),
    "semise_sdk/ledger/folder.py": (1, "another process, which leaves nothing that names it"),
    "semise_sdk/ledger/merge.py": (1, "the fingerprint of a secret key"),
    "semise_sdk/ledger/settings.py": (1, "hashes of reference images and of a secret key"),
    "semise_sdk/timeline/visits.py": (1, "the date of a patient's visit"),
}


def test_every_error_names_what_was_found_but_where_that_must_stay_hidden():
    found: Counter[str] = Counter()
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            count = len(_VAGUE.findall(path.read_text(encoding="utf-8")))
            if count:
                found[path.relative_to(ROOT).as_posix()] = count
    assert found == {name: count for name, (count, _) in MAY_BE_VAGUE.items()}


def test_the_search_finds_vague_endings_and_no_others():
    for vague in ("a, found otherwise: do", "a, found another in it", "found something else", "found more: do not"):
        assert _VAGUE.search(vague)
    for clear in ("found another ({now})", "found none", "found 3", "found {found}", "found none of {names}"):
        assert not _VAGUE.search(clear)

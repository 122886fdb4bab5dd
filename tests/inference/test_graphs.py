import threading
import time

import pytest

from semise_sdk.errors import BackendError
from semise_sdk.inference.graphs import Graphs


class Opened:
    def __init__(self, name):
        self.name = name
        self.is_closed = False

    def close(self):
        self.is_closed = True


def test_a_graph_is_opened_once_whoever_asks_first():
    opened = []

    def opener(name):
        time.sleep(0.02)
        opened.append(name)
        return Opened(name)

    graphs = Graphs(opener)
    found = []
    threads = [threading.Thread(target=lambda: found.append(graphs.get("encoder"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == ["encoder"]
    assert len(set(map(id, found))) == 1
    assert graphs.any_opened() is found[0]


def test_a_graph_that_failed_to_open_may_be_asked_for_again():
    attempts = []

    def opener(name):
        attempts.append(name)
        if len(attempts) == 1:
            raise BackendError("no memory")
        return Opened(name)

    graphs = Graphs(opener)
    with pytest.raises(BackendError, match="no memory"):
        graphs.get("unet")
    assert graphs.get("unet").name == "unet"


def test_closing_closes_all_and_opens_no_more():
    graphs = Graphs(Opened)
    backends = [graphs.get("encoder"), graphs.get("unet")]
    graphs.close()
    graphs.close()
    assert all(backend.is_closed for backend in backends)
    assert graphs.any_opened() is None
    with pytest.raises(BackendError, match="found it closed"):
        graphs.get("encoder")

"""Two runs never hold a store's directory, and a dead one does not hold it for ever."""

import threading

import pytest

from cnn_jax import stores
from cnn_jax.train import lease


@pytest.fixture
def store(tmp_path):
    return stores.Store(f"memory://{tmp_path.name}/run")


def take(store, token, silence=30.0, **more):
    return lease.Lease(store, owner=f"process {token}", token=token, silence=silence, **more)


def die(hold):
    """What a SIGKILL does: no more heartbeats, and no word about it."""
    hold._stopped.set()
    hold._thread.join()


def test_the_second_is_refused_until_the_first_lets_go(store):
    first = take(store, "1", silence=0.5)
    with pytest.raises(lease.HeldError, match=r"run is in use by process 1\. .*`workdir`"):
        take(store, "2")
    first.check()
    first.release()
    second = take(store, "2")
    second.release()
    assert set(store.entries("lock")) == {"lock/000002", "lock/000002.alive", "lock/clock"}


def test_a_silent_one_is_waited_for_and_then_succeeded(store, caplog):
    die(take(store, "1", silence=0.4))
    second = take(store, "2")
    assert "waiting up to" in caplog.text
    assert "process 1, which is dead" in caplog.text
    second.release()


def test_nobody_waits_for_one_that_is_known_to_be_dead(store):
    die(take(store, "1", silence=3600))
    take(store, "2", dead="1").release()


def test_one_that_was_only_frozen_finds_out(store):
    lost = threading.Event()
    first = take(store, "1", silence=0.5, on_lost=lambda message: lost.set())
    second = take(store, "2", dead="1")  # as if it had been silent
    with pytest.raises(lease.LostError, match="taken over by process 2"):
        first.check()
    assert lost.wait(5)
    second.check()
    second.release()


def test_of_many_one_wins(store):
    held, refused = [], []

    def contend(token):
        try:
            held.append(take(store, token, silence=1.0))
        except lease.HeldError:
            refused.append(token)

    threads = [threading.Thread(target=contend, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 3)
    held[0].release()


def test_a_store_that_ignores_conditions_has_one_winner_too(store, monkeypatch):
    """It overwrites: who wrote last holds, and the other one finds that out before it begins."""
    other = lease.Holder(1, "process 9", "9", 0.2)

    def overwritten(self, name, content):
        store.write(name, content)
        store.write(name, lease.json.dumps(other._asdict()).encode())
        monkeypatch.undo()
        return True

    monkeypatch.setattr(stores.Store, "create", overwritten)
    hold = take(store, "1")  # after 9, which never shows a sign of life, was given up
    assert lease.newest(store).number == 2
    hold.release()


def test_a_store_that_does_not_list_what_it_holds_ends_the_attempt(store, monkeypatch):
    monkeypatch.setattr(store, "entries", lambda under="": {})
    for _ in range(2):
        with pytest.raises(stores.StoreError, match="does not list what was written"):
            take(store, "1")
